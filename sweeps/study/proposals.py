"""Propose the next point: samplers, duplicates, and what is left of a grid."""

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from sweeps.definition.space import distributions, grid, grid_size
from sweeps.definition.sweep import SweepConfig

RESAMPLES = 20
GRID_LIMIT = 10_000


@dataclass(frozen=True)
class Point:
    """A point of the search space: what is varied, and the whole recipe that it means."""

    params: dict[str, Any]
    recipe: dict[str, Any]
    key: str
    sampler_state: dict[str, Any]


def make_point(sweep: SweepConfig, trial: optuna.Trial) -> Point:
    """Return the point that a scratch study's trial stands for."""
    recipe = sweep.make_recipe(trial.params)
    state = dict(trial.storage.get_trial_system_attrs(trial._trial_id))
    return Point(dict(trial.params), recipe.model_dump(), recipe.key(), state)


def taken_keys(trials: Iterable[FrozenTrial]) -> set[str]:
    """Return the keys of all points that were tried or are under way."""
    return {trial.user_attrs["key"] for trial in trials if "key" in trial.user_attrs}


def propose(study: optuna.Study, sweep: SweepConfig, *, seed: int) -> Point | None:
    """Return the next point that the sampler wants and nobody took; None if none is left.

    The sampler asks a scratch copy in memory as often as it takes to find a new point (on a grid
    of 112 points TPE repeats 60 of 100), so the study itself holds no duplicate and no gap.
    """
    trials = study.get_trials(deepcopy=False)
    taken = taken_keys(trials)
    space = distributions(sweep.search)
    # Reference points lie outside the space; a sampler that models it jointly must not see them.
    trials = [t for t in trials if t.state != TrialState.WAITING and set(t.params) == set(space)]
    scratch = optuna.create_study(
        directions=study.directions, sampler=make_sampler(sweep.study.sampler, seed)
    )
    scratch.add_trials([_with_sampler_state(trial) for trial in trials])
    for _ in range(RESAMPLES):
        trial = scratch.ask(fixed_distributions=space)
        point = make_point(sweep, trial)
        if point.key not in taken:
            return point
    return _unexplored(sweep, space, taken, random.Random(seed))


def _with_sampler_state(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy that carries what the sampler noted on its own trial (NSGA-II: generation)."""
    finished = trial.state.is_finished()
    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values if finished else None,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs={**trial.user_attrs.get("sampler", {}), **trial.system_attrs},
    )


def _unexplored(
    sweep: SweepConfig,
    space: dict[str, BaseDistribution],
    taken: set[str],
    rng: random.Random,
) -> Point | None:
    """Return a point that nobody took: of a small grid any that is left, else drawn at random."""
    if grid_size(sweep.search) <= GRID_LIMIT:
        candidates = list(grid(sweep.search))
        rng.shuffle(candidates)
    else:
        sampler = optuna.samplers.RandomSampler(rng.randrange(2**31))
        scratch = optuna.create_study(sampler=sampler)
        candidates = [scratch.ask(fixed_distributions=space).params for _ in range(1000)]
    for params in candidates:
        recipe = sweep.make_recipe(params)
        if recipe.key() not in taken:
            return Point(params, recipe.model_dump(), recipe.key(), {})
    return None


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler of Optuna's by its name in the sweep definition."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)


def derive_seed(*parts: object) -> int:
    """Return a seed in [0, 2**31) that differs as soon as one part does."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31
