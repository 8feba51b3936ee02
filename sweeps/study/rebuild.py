"""The study made again from the rows and claims: the storage holds nothing that they do not."""

import json
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lmopt.methods.recipe import Recipe
from sweeps.definition.space import distributions
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run
from sweeps.study.attempt_rows import final_row, put_damaged_aside, read_attempt, write_once
from sweeps.study.storage import create_study, put_study_aside


def rebuild_study(run: Run) -> int:
    """Put the study aside and write a new one; return how many trials it holds.

    Trials keep their numbers. One without a final row counts as running, and is taken over under
    its number if its job is gone; one whose failure was taken back waits. Needs `run.lock()`.
    """
    put_damaged_aside(run)
    put_study_aside(run)
    numbers = range(max(claims.numbers(run), default=-1) + 1)
    create_study(run).add_trials([_trial(run, number) for number in numbers])
    return len(numbers)


def run_failed_again(run: Run) -> list[int]:
    """Queue the trials that failed, to be run again under their numbers; return these.

    Their rows stay as they are. Needs `run.lock()`.
    """
    failed = []
    for number in sorted(claims.numbers(run)):
        claim = claims.newest(run, number)
        values = final_row(run, claim) if claim is not None and claim.recipe else None
        if claim is not None and values is not None and values["state"] == "FAIL":
            claims.take_back(run, claim)
            failed.append(number)
    if failed:
        rebuild_study(run)
    return failed


def _trial(run: Run, number: int) -> FrozenTrial:
    claim = claims.newest(run, number)
    if claim is None or not claim.recipe:  # never claimed, or torn by a broken disk
        claim = _known_otherwise(run, number, 0 if claim is None else claim.attempt)
    if claim is None:
        _give_up(run, number)
        return optuna.trial.create_trial(state=TrialState.FAIL)
    attributes: dict[str, Any] = {"recipe": claim.recipe, "key": claim.key}
    if claim.reference is not None:
        attributes["reference"] = claim.reference
    space = distributions(run.sweep.search)
    values = final_row(run, claim)
    common: dict[str, Any] = {
        "params": claim.params,
        "distributions": {name: space[name] for name in claim.params},
        "user_attrs": attributes,
    }
    if claims.is_taken_back(run, claim):
        return waiting_trial(claim.params, attributes)
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


def waiting_trial(params: dict[str, Any], attributes: dict[str, Any]) -> FrozenTrial:
    """Return a trial in the queue, as `Study.enqueue_trial` makes it."""
    fixed = {"fixed_params": params}
    return optuna.trial.create_trial(
        state=TrialState.WAITING, user_attrs=attributes, system_attrs=fixed
    )


def _known_otherwise(run: Run, number: int, attempt: int) -> Claim | None:
    """Return what a trial was without its claim: by its place among the references, or a row.

    Else the reference point would be queued once more, beyond the budget.
    """
    nobody = Claim(number=number, attempt=attempt)
    references = list(run.sweep.references().items())
    if number < len(references):
        name, recipe = references[number]
        return _with_recipe(nobody, recipe, name, {})
    values = read_attempt(run, number, attempt)
    if values is None:
        return None
    recipe = run.sweep.recipe_type(**json.loads(values["recipe_json"]))
    params = {name: values[f"param_{name}"] for name in run.sweep.search}
    return _with_recipe(nobody, recipe, None, params)


def _with_recipe(
    nobody: Claim, recipe: Recipe, reference: str | None, params: dict[str, Any]
) -> Claim:
    return replace(
        nobody, recipe=recipe.model_dump(), key=recipe.key(), reference=reference, params=params
    )


def _give_up(run: Run, number: int) -> None:
    """Leave a row for a number of which nobody knows what it was: the budget counts it."""
    values = {"run": run.name, "study": run.name, "trial": number, "attempt": 0}
    error = "neither its claim nor a row can be read: nobody knows what it was"
    write_once(run, {**values, "kind": "search", "state": "FAIL", "error": error})
