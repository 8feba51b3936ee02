"""The Optuna study of a run: storage, reference points, proposals. The rows are the truth."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.definition.errors import ConfigError
from sweeps.definition.space import distributions
from sweeps.definition.sweep import SweepConfig
from sweeps.run import claims
from sweeps.run.directory import Run
from sweeps.run.quiet import quiet_optuna
from sweeps.study.proposals import Point
from sweeps.study.rebuild import rebuild_study
from sweeps.study.storage import create_study, load_study

quiet_optuna()


def open_study(run: Run) -> optuna.Study:
    """Open the study of a run, to be read."""
    with locked_study(run) as study:
        return study


@contextmanager
def locked_study(run: Run) -> Iterator[optuna.Study]:
    """Hold the run and its study, to be written; made with its reference points the first time.

    It is read anew each time: a storage that was lost or torn since is made again from the rows,
    and whoever still had the old one in memory would go on writing to what is no more.
    """
    with run.lock():
        study = _load(run)
        if "references" not in study.user_attrs:
            study.set_metric_names(list(run.sweep.objectives))
            enqueue_references(study, run.sweep)
            study.set_user_attr("references", list(run.sweep.references()))
        yield study


def _load(run: Run) -> optuna.Study:
    """Return the study, made again where it does not hold the trials that there are claims of."""
    taken = max(claims.numbers(run), default=-1)
    try:
        study = load_study(run)
        if len(study.get_trials(deepcopy=False)) > taken:
            return study
    except KeyError:
        if taken < 0:
            return create_study(run)
    except ConfigError:  # a database that does not answer is not lost
        raise
    except ValueError:  # a line of the journal that is no record
        pass
    rebuild_study(run)
    return load_study(run)


def enqueue_references(study: optuna.Study, sweep: SweepConfig) -> None:
    """Put the reference points first in the queue; safe to repeat after a crash."""
    present = {trial.user_attrs.get("reference") for trial in study.get_trials(deepcopy=False)}
    for name, recipe in sweep.references().items():
        if name not in present:
            attributes = {"reference": name, "recipe": recipe.model_dump(), "key": recipe.key()}
            study.enqueue_trial({}, user_attrs=attributes)


def start_waiting(study: optuna.Study, sweep: SweepConfig) -> FrozenTrial | None:
    """Start the first waiting trial. The caller holds `run.lock()`.

    It is a reference point, whose recipe lies outside the space; or a point of the space whose
    worker died between queueing and asking for it, or that failed and is run again. Optuna sets
    the parameters of the latter two only if it is asked for them.
    """
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not waiting:
        return None
    if not waiting[0].system_attrs.get("fixed_params"):
        return _freeze(study, study.ask())
    return _freeze(study, study.ask(fixed_distributions=distributions(sweep.search)))


def start_point(study: optuna.Study, sweep: SweepConfig, point: Point) -> FrozenTrial:
    """Add a point to the study as a running trial. The caller holds `run.lock()`."""
    attributes = {"recipe": point.recipe, "key": point.key, "sampler": point.sampler_state}
    study.enqueue_trial(point.params, user_attrs=attributes)
    return _freeze(study, study.ask(fixed_distributions=distributions(sweep.search)))


def _freeze(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[trial.number]


def tell(
    study: optuna.Study,
    number: int,
    *,
    values: list[float] | None = None,
    constraints: Mapping[str, float] | None = None,
) -> None:
    """Finish a trial: COMPLETE with values, FAIL without. Safe to repeat."""
    trial = study.get_trials(deepcopy=False)[number]
    if trial.state.is_finished():
        return
    for name, value in (constraints or {}).items():
        optuna.Trial(study, trial._trial_id).set_constraint(name, value)
    if values is None:
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
    else:
        study.tell(number, values, skip_if_finished=True)
