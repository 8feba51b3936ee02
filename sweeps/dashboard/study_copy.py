"""A copy of a run's study in memory, with names, units and notes for people; nothing is written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from sweeps.dashboard.trial_notes import UNITS, Row, final_rows, note, present
from sweeps.definition.space import distributions
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run
from sweeps.run.quiet import quiet_optuna

quiet_optuna()

# Columns that the page can sort and filter by, beside the objectives.
ATTRIBUTES = ("method", "attempt", "accuracy_test", "accuracy_drop_test", "size_bytes",
              "speedup_b1", "speedup_b32")  # fmt: skip
STUDY_NOTE = """\
A copy of the run, made from its rows: nothing that is done here changes it.
The search sees the validation split; the notes of the trials say the test split, with one standard
error, clustered by document. Speed is against the teacher's fp32 artifact, timed in turn.
"""


def fingerprint(run: Run) -> tuple[int, ...]:
    """Return what changes whenever a row or claim of the run is added or replaced."""
    places = (run.claims, run.rows, run.path / "remeasure", run.path / "finished.json")
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in places)


def copy_study(run: Run) -> BaseStorage:
    """Return a storage in memory that holds the run's study, each trial with its note."""
    from optuna_dashboard import save_note

    rows = final_rows(run)
    finished = (run.path / "finished.json").exists()
    numbers = range(max(claims.numbers(run), default=-1) + 1)
    owners = [claims.newest(run, number) for number in numbers]
    found = [_row_of(claim, rows) for claim in owners]
    study = optuna.create_study(
        study_name=run.name,
        storage=InMemoryStorage(),
        directions=list(run.sweep.objectives.values()),
    )
    study.set_metric_names([with_unit(name) for name in run.sweep.objectives])
    save_note(study, STUDY_NOTE)
    pairs = list(zip(owners, found, strict=True))
    study.add_trials([frozen_trial(run, claim, values, finished) for claim, values in pairs])
    for trial, (claim, values) in zip(study.get_trials(deepcopy=False), pairs, strict=True):
        if claim is not None:
            save_note(optuna.Trial(study, trial._trial_id), note(run, claim, values))
    return study._storage


def with_unit(name: str) -> str:
    """Return a column's name with its unit, as a metric is named: size_bytes (bytes)."""
    unit = UNITS.get(name)
    return f"{name} ({unit})" if unit else name


def _row_of(claim: Claim | None, rows: Mapping[int, Row]) -> Row | None:
    """Return the row that settles a trial, or says why its newest attempt was lost."""
    values = rows.get(claim.number) if claim is not None else None
    if values is None or claim is None:
        return None
    is_old = values["state"] == "LOST" and values["attempt"] < claim.attempt  # runs again
    return None if is_old else values


def frozen_trial(run: Run, claim: Claim | None, values: Row | None, finished: bool) -> FrozenTrial:
    """Return a trial as rows and claims tell it; a lost one counts as running, as in the study."""
    if claim is None or not claim.recipe:  # not claimed yet, or torn
        return optuna.trial.create_trial(state=TrialState.WAITING)
    space = distributions(run.sweep.search)
    common: dict[str, Any] = {
        "params": claim.params,
        "distributions": {name: space[name] for name in claim.params},
    }
    if values is None or values["state"] == "LOST":
        state = TrialState.FAIL if finished else TrialState.RUNNING
        trial = optuna.trial.create_trial(state=state, **common)
    else:
        trial = _ended_trial(run, values, common)
        trial.datetime_complete = _local(values["finished_utc"])
    trial.datetime_start = _local(claim.started_utc)
    return trial


def _ended_trial(run: Run, values: Row, common: dict[str, Any]) -> FrozenTrial:
    names = [name for name in ATTRIBUTES if name not in run.sweep.objectives]
    attributes = {name: value for name in names if (value := present(values, name)) is not None}
    common = common | {"user_attrs": attributes}
    if values["state"] != "COMPLETE":
        return optuna.trial.create_trial(state=TrialState[values["state"]], **common)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        values=[float(values[name]) for name in run.sweep.objectives],
        system_attrs=_constraints(run, values),
        **common,
    )


def _constraints(run: Run, values: Row) -> dict[str, Any]:
    found = row.constraint_values(values, run.sweep.constraints)
    return {"constraints": list(found.values())} if found else {}


def _local(time: str | datetime) -> datetime | None:
    """Return a time as Optuna keeps it: local, without a zone."""
    if not time:
        return None
    when = datetime.fromisoformat(time) if isinstance(time, str) else time
    return datetime.fromtimestamp(when.timestamp())
