"""The study made again from the rows and claims: the storage holds nothing that they do not."""

import time
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps import claims, row
from sweeps.claims import Claim
from sweeps.run import Run
from sweeps.space import distributions
from sweeps.storage import load_or_create_study, open_storage


def rebuild_study(run: Run) -> int:
    """Put the journal aside and write a new one; return how many trials it holds.

    Trials keep their numbers. One without a final row counts as running, and is taken over under
    its number if its job is gone. Needs `run.lock()`.
    """
    if run.journal.exists():
        run.journal.rename(run.journal.with_name(f"study.journal.broken-{int(time.time())}"))
    numbers = range(max(claims.numbers(run), default=-1) + 1)
    trials = [_trial(run, claims.newest(run, number)) for number in numbers]
    study = load_or_create_study(run, open_storage(run))
    study.add_trials(trials)
    return len(trials)


def _trial(run: Run, claim: Claim | None) -> FrozenTrial:
    if claim is None or not claim.recipe:  # never claimed, or torn: nobody knows what it was
        return optuna.trial.create_trial(state=TrialState.FAIL)
    attributes: dict[str, Any] = {"recipe": claim.recipe, "key": claim.key}
    if claim.reference is not None:
        attributes["reference"] = claim.reference
    space = distributions(run.sweep.search)
    values = row.final_row(run, claim)
    common: dict[str, Any] = {
        "params": claim.params,
        "distributions": {name: space[name] for name in claim.params},
        "user_attrs": attributes,
    }
    if values is None:
        return optuna.trial.create_trial(state=TrialState.RUNNING, **common)
    if values["state"] != "COMPLETE":
        return optuna.trial.create_trial(state=TrialState[values["state"]], **common)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        values=[float(values[name]) for name in run.sweep.objectives],
        constraints=row.constraint_values(values, run.sweep.constraints),
        **common,
    )
