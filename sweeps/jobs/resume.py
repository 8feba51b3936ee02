"""Going on with a run: interrupted, killed, failed, or finished with a larger budget."""

from dataclasses import dataclass

from analysis.rows.table import final_attempts, read_rows
from analysis.rows.units import counted
from slurm.states import known_states
from sweeps.definition.errors import ConfigError
from sweeps.jobs.finalizer import finish_needed, grow, heal, trials_left
from sweeps.jobs.launch import launch, submitting
from sweeps.run.directory import Run, set_budget
from sweeps.run.files import quoted
from sweeps.run.rounds import live_jobs
from sweeps.study.rebuild import run_failed_again
from sweeps.study.study import locked_study, open_study


@dataclass(frozen=True)
class Resumed:
    """A run that goes on, or not: whether jobs were submitted, whether any work, what to say."""

    run: Run
    submitted: bool
    working: bool
    said: str = ""


def resume_run(run: Run, trials: int | None, *, retry_failed: bool = False) -> Resumed:
    """Submit what is left of a run. `trials` is the new budget in all.

    While its jobs work only the budget can change: they see it, and the finalizer submits a round
    for what they do not come to. With `retry_failed` the trials that failed run again, each under
    its number.

    Raises:
        ConfigError: Jobs of the run are alive, or the budget is below what was spent.
        SilentControllerError: Slurm does not answer.
    """
    if trials is not None and not retry_failed and (live := live_jobs(run, known_states)):
        run = _change_budget(run, trials, while_working=True)
        jobs = counted(len(live), "job")
        said = f"the budget is {run.trials} trials now; {jobs} at work will see it"
        return Resumed(run, submitted=False, working=True, said=said)
    with submitting(run):
        if trials is not None:
            run = _change_budget(run, trials)
        if retry_failed:
            with run.lock():
                run_failed_again(run)
        lost = heal(run)
        left = len(lost) + trials_left(run, open_study(run))
        if left == 0 and not finish_needed(run, read_rows(run.path)):
            return Resumed(run, submitted=False, working=False, said=_nothing(run))
        (run.path / "finished.json").unlink(missing_ok=True)
        launch(run, trials_left=left, reason="resume", worker=grow(run, lost))
        return Resumed(run, submitted=True, working=True)


def _change_budget(run: Run, trials: int, *, while_working: bool = False) -> Run:
    """Set the budget under the lock that each trial is started under."""
    with locked_study(run) as study:
        spent = len(study.get_trials(deepcopy=False))
        if trials < spent:
            raise ConfigError(f"--trials is the budget in all: {spent} are there, got {trials}")
        if while_working and (run.path / "finished.json").exists():
            here = quoted(run.path)
            raise ConfigError(
                f"the last job of {run.path} is about to end: wait until 'lmopt status {here}' says"
                f" finished, then 'lmopt resume {here} --trials {trials}'"
            )
        (run.path / "space.exhausted").unlink(missing_ok=True)
        return set_budget(run, trials)


def _nothing(run: Run) -> str:
    failed = int(final_attempts(read_rows(run.path))["state"].eq("FAIL").sum())
    again = f", or run the {failed} that failed again with --retry-failed" if failed else ""
    return f"nothing to do: {run.trials} trials are done; raise the budget with --trials{again}"
