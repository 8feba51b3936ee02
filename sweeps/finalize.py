"""The last job of a round: heal what died, submit another round or finish the run."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import optuna
import pandas as pd
from filelock import FileLock
from optuna.trial import TrialState

from analysis.results import compact, load_results, read_rows, write_row
from analysis.selection import candidates, front_rows
from slurm.jobs import JobState, job_states
from slurm.profile import JobResources
from slurm.submit import SubmissionError
from sweeps import reconcile, row
from sweeps.keep import prune_artifacts
from sweeps.launch import (
    LAUNCH_TIMEOUT_S,
    Round,
    launch,
    prepare_losses,
    rounds,
    worker_losses,
    write_round,
)
from sweeps.reconcile import Orphan
from sweeps.run import Run, open_run, write_json
from sweeps.study import locked_study, open_study

log = logging.getLogger("lmopt")

SUBMISSION_WAITS_S = (10, 30, 60, 120, 300, 600)


def finalize(run_dir: str, submitted_round: int) -> None:
    """Heal and either submit another round or finish: compact, time the front alone, report.

    Raises RuntimeError if work is left that another round would not get done.
    """
    from sweeps.worker import this_job, threads_of

    run, job = open_run(run_dir), this_job()
    if len(rounds(run)) > submitted_round + 1:
        log.info("another round was submitted already; its finalizer does the rest")
        return
    lost = heal(run)
    stop = None
    if lost or trials_left(run, open_study(run)):
        stop = why_stop(run, rounds(run)[submitted_round])
        if stop is None:
            _launch_patiently(run, lost)
            return
    finish(run, threads=threads_of(job), complete=stop is None)
    if stop is not None:
        raise RuntimeError(stop)


def heal(run: Run) -> list[Orphan]:
    """Tell what was not told, bury the dead; return the orphans that may be tried again."""
    with locked_study(run) as study:
        reconcile.tell_rows(run, study)
    retry = []
    for orphan in reconcile.orphans(run, study, None):
        with locked_study(run) as study:
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
    before_any_trial = worker_losses(run)
    memory, timeouts = before_any_trial["out_of_memory"], before_any_trial["timeout"]
    for orphan in lost:
        losses = reconcile.losses(run, orphan.claim.number)
        memory = max(memory, losses["out_of_memory"])
        timeouts = max(timeouts, losses["timeout"])
    failed = {o.claim.node for o in lost if o.cause == "node_fail" and o.claim.node}
    return run.profile.job("worker", out_of_memory=memory, timeouts=timeouts, exclude=failed)


def why_stop(run: Run, last: Round) -> str | None:
    """Return why another round cannot bring anything; None if it can. Notes what ended prepare."""
    states = job_states([*last.prepare, *last.workers], run.jobs)
    prepared = states[last.prepare[0]]
    if prepared not in ("DONE", *reconcile.LIVE):
        if prepared in ("FAILED", "CANCELLED"):
            return f"the prepare job ended as {prepared}: nothing can run; see 'lmopt logs'"
        write_round(run, replace(last, prepare_lost=reconcile.cause_of(prepared)))
        lost = prepare_losses(run)
        if not reconcile.may_retry(run.profile.retries, lost):
            return f"the prepare job was lost too often: {dict(lost)}; see 'lmopt logs'"
        return None
    if not read_rows(run.path)["job_id"].isin(last.workers).any():
        return _why_fruitless(run, last, [states[job] for job in last.workers])
    return None


def _why_fruitless(run: Run, last: Round, ended: Sequence[JobState]) -> str | None:
    """Return why workers that started no trial would do no better in another round."""
    killed = [state for state in ended if state not in ("DONE", "FAILED", "CANCELLED")]
    if not killed:
        states = ", ".join(sorted(set(ended)))
        return f"the workers ended as {states} before any trial; see 'lmopt logs'"
    cause = Counter(reconcile.cause_of(state) for state in killed).most_common(1)[0][0]
    write_round(run, replace(last, workers_lost=cause))
    lost = worker_losses(run)
    if not reconcile.may_retry(run.profile.retries, lost):
        return f"the workers were lost too often before any trial: {dict(lost)}; see 'lmopt logs'"
    return None


def _launch_patiently(run: Run, lost: Sequence[Orphan]) -> None:
    """Submit the next round, also if slurmctld is away or the queue is full for the moment."""
    worker = grow(run, lost)
    left = max(len(lost), trials_left(run, open_study(run)))
    for wait_s in (*SUBMISSION_WAITS_S, None):
        try:
            with FileLock(run.path / "launch.lock", timeout=LAUNCH_TIMEOUT_S):
                launch(run, trials_left=left, reason=_reason(lost), worker=worker)
            return
        except SubmissionError as error:
            if wait_s is None:
                raise
            log.warning("%s; once more in %d s", error, wait_s)
            if "node" in str(error):  # there may be no other node than those that failed
                worker = worker.model_copy(update={"exclude": run.profile.job("worker").exclude})
            time.sleep(wait_s)


def _reason(lost: Sequence[Orphan]) -> str:
    causes = sorted({orphan.cause for orphan in lost})
    return "retry: " + ", ".join(causes) if causes else "budget left"


def finish_needed(run: Run, rows: pd.DataFrame) -> bool:
    """Whether a run has all its trials but was never finished."""
    return len(rows) > 0 and not (run.path / "finished.json").exists()


def finish(run: Run, *, threads: int, complete: bool = True) -> None:
    """Compact the rows, time the front's artifacts with nothing else running, write the report."""
    compact(run.path)
    rows = load_results(run.path)
    if (rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")).any():
        time_front(run, rows, threads=threads)
        compact(run.path)
        from sweeps.report import write_report

        write_report(run)
    if complete:
        write_json(run.path / "finished.json", {"trials": run.trials})
    prune_artifacts(run)


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
    from sweeps.remake import artifact_of

    prepared = load_prepared(run, threads)
    for values in wanted.to_dict("records"):
        artifact = artifact_of(run, prepared, {str(k): v for k, v in values.items()})
        samples, noisy = time_artifact(prepared, artifact, cache=run.cache)
        overlay: row.Row = {
            "trial": int(values["trial"]),
            "attempt": int(values["attempt"]),
            "timed_alone": True,
            "timing_noisy": noisy,
        }
        for batch, timings in samples.items():
            overlay.update(row.speed(batch, timings))
        name = run.row_path(overlay["trial"], overlay["attempt"]).name
        write_row(overlay, run.path / "remeasure" / name, partial=True)
