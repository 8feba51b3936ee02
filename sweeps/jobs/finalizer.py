"""The last job of a round: heal what died, submit another round or finish the run."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import optuna
import pandas as pd
from optuna.trial import TrialState

from analysis.rows.table import compact, load_results, read_rows
from slurm.profile import JobResources
from slurm.records import Job, read_exit
from slurm.states import LIVE, JobState, known_states
from slurm.submit import SubmissionError
from sweeps.disk.retention import prune_artifacts
from sweeps.jobs.context import this_job
from sweeps.jobs.failures import RunStoppedError
from sweeps.jobs.front_timing import measures_apart, time_front, untimed, why_not_measured
from sweeps.jobs.launch import launch, launch_guard, launch_measure, take_back
from sweeps.jobs.patience import ask_patiently, submit_patiently
from sweeps.jobs.streaks import why_failing
from sweeps.run.directory import Run, budget, open_run, without_growth
from sweeps.run.files import quoted, write_json
from sweeps.run.rounds import (
    Round,
    bad_nodes,
    launch_lock,
    prepare_losses,
    rounds,
    worker_losses,
    write_round,
)
from sweeps.study import healing
from sweeps.study.attempt_rows import put_damaged_aside
from sweeps.study.healing import Orphan
from sweeps.study.rebuild import rebuild_study
from sweeps.study.study import locked_study, open_study

log = logging.getLogger("lmopt")


def finalize(run_dir: str, submitted_round: int) -> None:
    """Heal and either submit another round or finish: compact, time the front alone, report.

    Raises RunStoppedError if work is left that another round would not get done.
    """
    run, job = open_run(run_dir), this_job()
    if not ask_patiently(lambda: _is_mine(run, submitted_round, job)):
        log.info("another finalizer was submitted already; it does the rest")
        return
    lost = ask_patiently(lambda: heal(run))
    stop = None
    if lost or trials_left(run, open_study(run)):
        stop = ask_patiently(lambda: why_stop(run, rounds(run)[submitted_round]))
        if stop is None:
            _launch_next(run, submitted_round, lost)
            return
    if measures_apart(run) and not untimed(run).empty:
        part, why_not = ask_patiently(lambda: why_not_measured(run, rounds(run)[submitted_round]))
        if why_not is None:
            submit_patiently(run, lambda: launch_measure(run, part))
            return
        stop = stop or why_not
    closed = finish(run, job, complete=stop is None)
    if stop is not None:
        raise RunStoppedError(stop)
    if not closed:
        log.info("the budget was raised meanwhile")
        _launch_next(open_run(run_dir), submitted_round, [])


def _is_mine(run: Run, number: int, job: Job) -> bool:
    """Whether this job is the one to go on after round `number`, which it cleans up behind.

    It may be a finalizer that was killed as it submitted the next round, and started again; or one
    that a lost node still runs while Slurm has started it again elsewhere.
    """
    with launch_lock(run):
        newer, part = rounds(run)[number + 1 :], rounds(run)[number]
        if newer and newer[-1].whole:
            return False
        if job.job_id in part.finalize[:-1]:
            return False
        take_back(run, number, job.job_id)
        if not part.whole:
            launch_guard(run, replace(part, finalize=[job.job_id]))
        return True


def heal(run: Run) -> list[Orphan]:
    """Report unreported results to Optuna, mark dead attempts LOST, return those to retry.

    Raises SilentControllerError if Slurm does not answer: then nothing is known of any attempt.
    """
    with run.lock():
        if put_damaged_aside(run):
            rebuild_study(run)  # A trial that was told COMPLETE has no result any more.
    with locked_study(run) as study:
        healing.tell_rows(run, study)
    retry = []
    for orphan in healing.orphans(run, study, None, known_states):
        with locked_study(run) as study:
            healing.bury(run, orphan)
            losses = healing.losses(run, orphan.claim.number)
            if healing.may_retry(run.profile.retries, losses):
                retry.append(orphan)
            else:
                healing.give_up(run, study, orphan.claim)
    return retry


def trials_left(run: Run, study: optuna.Study) -> int:
    """Return how many trials of the budget have not been started."""
    if (run.path / "space.exhausted").exists():
        return 0
    trials = study.get_trials(deepcopy=False)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    return max(0, budget(run) - len(trials)) + waiting


def grow(run: Run, lost: Sequence[Orphan], avoid: Collection[str] = ()) -> JobResources:
    """Return what the next round's workers ask for, after what their predecessors died of.

    They stay away from the nodes in `avoid`, and from those that went down.
    """
    before_any_trial = worker_losses(run)
    memory, timeouts = before_any_trial["out_of_memory"], before_any_trial["timeout"]
    for orphan in lost:
        losses = healing.losses(run, orphan.claim.number)
        memory = max(memory, losses["out_of_memory"])
        timeouts = max(timeouts, losses["timeout"])
    failed = {o.claim.node for o in lost if o.cause == "node_fail" and o.claim.node}
    failed |= set(avoid)
    return run.profile.job("worker", out_of_memory=memory, timeouts=timeouts, exclude=failed)


def why_stop(run: Run, last: Round) -> str | None:
    """Return why another round cannot bring anything; None if it can. Notes what ended prepare."""
    if (why := why_failing(run)) is not None:
        return why
    states = known_states([*last.prepare, *last.workers], run.jobs)
    prepared = states[last.prepare[0]]
    if prepared not in ("DONE", *LIVE):
        return _why_unprepared(run, last, prepared)
    rows = read_rows(run.path)
    rows = rows[rows["job_id"].isin(last.workers)]
    if rows["lost_cause"].eq("place").all():
        met = len(rows) > 0
        return _why_fruitless(run, last, [states[job] for job in last.workers], met_trouble=met)
    return None


def _why_unprepared(run: Run, last: Round, ended: JobState) -> str | None:
    """Return why a prepare job that did not come to its end would not do so in another round."""
    if ended in ("FAILED", "CANCELLED"):
        return f"the prepare job ended as {ended}: nothing can run{_last_error(run, last.prepare)}"
    write_round(run, replace(last, prepare_lost=healing.cause_of(ended)))
    lost = prepare_losses(run, since_resume=True)
    if healing.may_retry(run.profile.retries, lost):
        return None
    return f"the prepare job was lost too often: {dict(lost)}{_last_error(run, last.prepare)}"


def _why_fruitless(
    run: Run, last: Round, ended: Sequence[JobState], *, met_trouble: bool
) -> str | None:
    """Return why workers that brought no trial to an end would do no better in another round."""
    killed = [state for state in ended if state not in ("DONE", "FAILED", "CANCELLED")]
    if not killed and not met_trouble:
        states = ", ".join(sorted(set(ended)))
        return f"the workers ended as {states} before any trial{_last_error(run, last.workers)}"
    causes = Counter(healing.cause_of(state) for state in killed)
    cause = "place" if met_trouble else causes.most_common(1)[0][0]
    write_round(run, replace(last, workers_lost=cause))
    lost = worker_losses(run, since_resume=True)
    if healing.may_retry(run.profile.retries, lost):
        return None
    return (
        f"the workers were lost too often before any trial came to its end: {dict(lost)}"
        f"{_last_error(run, last.workers)}"
    )


def _last_error(run: Run, jobs: Sequence[str]) -> str:
    """Return what the last of some jobs said at its end, as the end of a sentence."""
    ended = [exit for job in jobs if (exit := read_exit(job, run.jobs)) and exit.error]
    last = max(ended, key=lambda exit: exit.ended, default=None)
    said = "" if last is None else f", job {last.job_id} with {last.error}"
    return f"{said}; see 'lmopt logs {quoted(run.path)}'"


def _launch_next(run: Run, number: int, lost: Sequence[Orphan]) -> None:
    before = rounds(run)[number:]
    worker = grow(run, lost, bad_nodes(run, [job for part in before for job in part.workers]))
    elsewhere = bad_nodes(run, [job for part in before for job in part.prepare])
    left = len(lost) + trials_left(run, open_study(run))

    def refused(error: SubmissionError) -> None:
        nonlocal run, worker, elsewhere
        said = run.profile.job("worker")
        if error.refusal == "passing":
            return
        if error.refusal == "nodes" and (elsewhere or worker.exclude != said.exclude):
            # There may be no other node than those that failed.
            elsewhere = set()
            worker = worker.model_copy(update={"exclude": said.exclude})
        elif worker != said:
            log.warning("the next round asks for what the profile says, not for more")
            run, worker = without_growth(run), said

    def submit() -> None:
        if len(rounds(run)) == number + 1:  # or this very job, on a node that was lost, was faster
            launch(run, trials_left=left, reason=_reason(lost), worker=worker, elsewhere=elsewhere)

    submit_patiently(run, submit, refused=refused)


def _reason(lost: Sequence[Orphan]) -> str:
    causes = sorted({orphan.cause for orphan in lost})
    return "retry: " + ", ".join(causes) if causes else "budget left"


def finish_needed(run: Run, rows: pd.DataFrame) -> bool:
    """Whether a run has all its trials but was never finished."""
    return len(rows) > 0 and not (run.path / "finished.json").exists()


def finish(run: Run, job: Job, *, complete: bool = True) -> bool:
    """Compact the rows, time the front's artifacts with nothing else running, write the report.

    Return whether the run is finished: False if it is not `complete`, or its budget was raised.
    """
    if not measures_apart(run):
        time_front(run, job)
    compact(run.path)
    rows = load_results(run.path)
    if (rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")).any():
        from sweeps.report.build import write_report

        write_report(run)
    closed = complete and _close(run)
    prune_artifacts(run)
    return closed


def _close(run: Run) -> bool:
    """Say that a run is finished, unless its budget is another than this job has worked with."""
    with run.lock():
        if budget(run) > run.trials:
            return False
        write_json(run.path / "finished.json", {"trials": run.trials})
        return True
