"""The last job of a round: heal what died, submit another round or finish the run."""

import logging
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from analysis.results import compact, load_results, read_rows, write_row
from analysis.selection import candidates, front_rows
from slurm.jobs import current_job, job_states
from slurm.profile import JobResources
from sweeps import reconcile, row
from sweeps.launch import Round, launch, rounds
from sweeps.reconcile import Orphan
from sweeps.run import Run, open_run, write_json
from sweeps.study import open_study

log = logging.getLogger("lmopt")


def finalize(run_dir: str, submitted_round: int) -> None:
    """Heal and either submit another round or finish: compact, time the front alone, report."""
    run, job = open_run(run_dir), current_job()
    assert job is not None, "finalize runs inside a job"
    study = open_study(run)
    submitted = rounds(run)[submitted_round]
    lost = heal(run, study)
    if _should_go_on(run, study, submitted, lost):
        resources = grow(run, lost)
        left = max(len(lost), trials_left(run, study))
        launch(run, trials_left=left, reason=_reason(lost), worker=resources)
        return
    for orphan in lost:
        with run.lock():
            reconcile.give_up(run, study, orphan.claim.number)
    finish(run, threads=max(1, len(job.cores)))


def heal(run: Run, study: optuna.Study) -> list[Orphan]:
    """Tell what was not told, bury the dead; return the orphans that may be tried again."""
    with run.lock():
        reconcile.tell_rows(run, study)
    retry = []
    for orphan in reconcile.orphans(run, study, None):
        with run.lock():
            reconcile.bury(run, orphan)
            losses = reconcile.losses(run, orphan.claim.number)
            if reconcile.may_retry(run.profile.retries, losses):
                retry.append(orphan)
            else:
                reconcile.give_up(run, study, orphan.claim.number)
    return retry


def trials_left(run: Run, study: optuna.Study) -> int:
    """Return how many trials of the budget have not been started."""
    if (run.path / "space.exhausted").exists():
        return 0
    trials = study.get_trials(deepcopy=False)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    return max(0, run.trials - len(trials)) + waiting


def grow(run: Run, lost: Sequence[Orphan]) -> JobResources:
    """Return what the next round's workers ask for, after what their predecessors died of."""
    memory = timeouts = 0
    for orphan in lost:
        losses = reconcile.losses(run, orphan.claim.number)
        memory = max(memory, losses.get("out_of_memory", 0))
        timeouts = max(timeouts, losses.get("timeout", 0))
    failed = {o.claim.node for o in lost if o.cause == "node_fail" and o.claim.node}
    return run.profile.job("worker", out_of_memory=memory, timeouts=timeouts, exclude=failed)


def _should_go_on(run: Run, study: optuna.Study, last: Round, lost: Sequence[Orphan]) -> bool:
    """Whether another round can bring something: work is left, and the last one got somewhere."""
    if not lost and trials_left(run, study) == 0:
        return False
    prepared = job_states(last.prepare, run.jobs)
    if any(state not in ("DONE", "RUNNING") for state in prepared.values()):
        log.error("the prepare job did not succeed: nothing can run; see its log in %s", run.jobs)
        return False
    rows = read_rows(run.path)
    ran = rows["job_id"].isin(last.workers).any()
    if not ran:
        log.error("the last round finished no trial; stopping; see the logs in %s", run.jobs)
    return bool(ran)


def _reason(lost: Sequence[Orphan]) -> str:
    causes = sorted({orphan.cause for orphan in lost})
    return "retry: " + ", ".join(causes) if causes else "budget left"


def finish_needed(run: Run, rows: pd.DataFrame) -> bool:
    """Whether a run has all its trials but was never finished."""
    return len(rows) > 0 and not (run.path / "finished.json").exists()


def finish(run: Run, *, threads: int) -> None:
    """Compact the rows, time the front's artifacts with nothing else running, write the report."""
    compact(run.path)
    rows = load_results(run.path)
    if (rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")).any():
        time_front(run, rows, threads=threads)
        compact(run.path)
        from sweeps.report import write_report

        write_report(run)
    write_json(run.path / "finished.json", {"trials": run.trials})


def time_front(run: Run, rows: pd.DataFrame, *, threads: int) -> None:
    """Time the artifacts of the front and of the reference points once more, alone."""
    from sweeps.worker import load_prepared

    front = front_rows(rows, run.sweep.objectives)
    models = candidates(rows)
    wanted = pd.concat([front, models[models["kind"].eq("reference")]]).drop_duplicates("trial")
    wanted = wanted[~wanted["timed_alone"].fillna(False).astype(bool)]
    if wanted.empty:
        return
    from lmopt.pipeline import time_artifact

    prepared = load_prepared(run, threads)
    for values in wanted.to_dict("records"):
        samples, _ = time_artifact(prepared, Path(values["artifact_path"]), cache=run.cache)
        overlay: row.Row = {
            "trial": int(values["trial"]),
            "attempt": int(values["attempt"]),
            "timed_alone": True,
        }
        for batch, timings in samples.items():
            overlay.update(row.speed(batch, timings))
        name = run.row_path(overlay["trial"], overlay["attempt"]).name
        write_row(overlay, run.path / "remeasure" / name, partial=True)
