"""Going on with a run after anything: interrupted, killed, finished with a larger budget."""

from analysis.rows.table import read_rows
from sweeps.definition.errors import ConfigError
from sweeps.jobs.finalizer import finish_needed, grow, heal, trials_left
from sweeps.jobs.launch import launch, submitting
from sweeps.run.directory import Run, set_budget
from sweeps.study.study import open_study


def resume_run(run: Run, trials: int | None) -> tuple[Run, bool]:
    """Submit what is left of a run; False if nothing is. `trials` is the new budget in all.

    Raises:
        ConfigError: Jobs of the run are alive, or the budget is below what was spent.
    """
    with submitting(run):
        study = open_study(run)
        if trials is not None:
            spent = len(study.get_trials(deepcopy=False))
            if trials < spent:
                raise ConfigError(f"--trials is the budget in all: {spent} are there, got {trials}")
            run = set_budget(run, trials)
            (run.path / "space.exhausted").unlink(missing_ok=True)
        lost = heal(run)
        left = len(lost) + trials_left(run, open_study(run))
        if left == 0 and not finish_needed(run, read_rows(run.path)):
            return run, False
        (run.path / "finished.json").unlink(missing_ok=True)
        launch(run, trials_left=left, reason="resume", worker=grow(run, lost))
        return run, True
