"""`lmopt check`: look at a sweep's inputs, and plan what it would run."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmopt.errors import UserError
from lmopt.methods.recipe import Recipe
from slurm.durations import duration_text
from slurm.profile import KINDS, Kind, Profile, load_profile
from sweeps.definition.errors import ConfigError
from sweeps.definition.space import describe, grid_size, probes
from sweeps.definition.sweep import SweepConfig, load_sweep
from sweeps.preflight.cost import Counts, estimate, model_config
from sweeps.preflight.data_table import DataTable, look_at_data

NSGA2_POPULATION = 50  # Optuna's default
IMITATION = (
    "hidden_weight",
    "attention_weight",
    "pretrain_epochs",
)  # Losses on its states.


def check_inputs(sweep: SweepConfig, profile: Profile) -> Counts:
    """Look at the data and the models where they are on this machine, and at the jobs' cores.

    Return how many texts there are to train on.

    Raises:
        UserError: A folder, file or column that is not there, a class with one example, an empty
            text, more threads than cores: one line with the remedy. A hub id can be looked up by
            the prepare job only.
    """
    return _look(sweep, profile)[0]


def _look(sweep: SweepConfig, profile: Profile) -> tuple[Counts, DataTable | None]:
    """Do what `check_inputs` does, and return the table of the data too."""
    from lmopt.locations import resolve

    check_threads(sweep, profile)
    counts, table = look_at_data(sweep.task, sweep.teacher.model)
    for key, model in (("teacher", sweep.teacher.model), ("student", sweep.student.model)):
        place = Path(resolve(model)) if model is not None else None
        if place is not None and place.exists() and not (place / "config.json").is_file():
            raise ConfigError(f"{key}.model: no model in {place} (no config.json); name its folder")
    check_shapes(sweep)
    return counts, table


def check_shapes(sweep: SweepConfig) -> None:
    """Refuse what the models on this machine cannot be cut to, and losses they cannot have.

    Raises:
        ConfigError: The key, what it must be, and its value.
    """
    models = {"teacher": sweep.teacher.model, "student": sweep.student.model}
    configs = {base: model_config(model) for base, model in models.items() if model is not None}
    seen: set[tuple[str, float, float | None]] = set()
    for where, recipe in _asked(sweep):
        if reason := recipe.refusal(configs.get(recipe.base, {})):
            raise ConfigError(f"{where}.{reason}")
        imitates = any(getattr(recipe, name) > 0 for name in IMITATION)
        asked = (recipe.base, recipe.attention_weight, recipe.dropout)
        if imitates and asked not in seen and configs.get("teacher") and configs.get(recipe.base):
            seen.add(asked)
            _check_features(where, sweep, recipe)


def _asked(sweep: SweepConfig) -> Iterator[tuple[str, Recipe]]:
    """Yield the fixed recipe, one for each probed value of each field, and the reference points.

    Searched epochs are at their most in them, since a recipe without epochs has no losses. The
    reference points come last, since those by default repeat what the search varies.
    """
    trained = {
        name: max(float(value or 0) for value in sweep.search[name].bounds())
        for name in sweep.recipe_type.epoch_fields()
        if name in sweep.search
    }
    yield "recipe", sweep.make_recipe(trained)
    for field in sorted(sweep.search):
        for value in probes(sweep.search[field]):
            yield "search", sweep.make_recipe(trained | {field: value})
    for name, point in sweep.references().items():
        yield f"reference_points.{name}", point


def _check_features(where: str, sweep: SweepConfig, recipe: Recipe) -> None:
    """Refuse a student that cannot imitate what happens inside its teacher."""
    from lmopt.locations import resolve
    from lmopt.training.imitation import check_features

    student = sweep.student.model if recipe.base == "student" else sweep.teacher.model
    assert student is not None
    try:
        check_features(
            resolve(student), resolve(sweep.teacher.model), recipe.attention_weight, recipe.dropout
        )
    except UserError as error:
        raise ConfigError(f"{where}: {error}") from None


def check_threads(sweep: SweepConfig, profile: Profile) -> None:
    """Refuse timings on fewer cores than threads: they would say nothing of the artifact.

    Raises:
        ConfigError: Value, rule and remedy in one line.
    """
    timing: Kind = "measure" if profile.measure.model_fields_set else "finalize"
    for kind in ("worker", timing):
        cpus = profile.job(kind).cpus
        if sweep.runtime.threads > cpus:
            raise ConfigError(
                f"runtime.threads must be at most the cpus of a {kind} job, got "
                f"{sweep.runtime.threads} threads and {cpus} cpus: change runtime.threads or the "
                f"cpus of profile {profile.name}"
            )


def plan(path: Path, on: str) -> dict[str, Any]:
    """Return the plan of a sweep: data, space, budget, reference points, projected core-hours."""
    sweep = load_sweep(path)
    profile = load_profile(on)
    counts, table = _look(sweep, profile)
    points = grid_size(sweep.search)
    return {
        "name": sweep.name,
        "space": {name: describe(distribution) for name, distribution in sweep.search.items()},
        "points": None if points == float("inf") else int(points),
        "fixed": sweep.recipe,
        "methods": sweep.methods,
        "reference_points": {
            name: recipe.model_dump(exclude_defaults=True)
            for name, recipe in sweep.references().items()
        },
        "objectives": sweep.objectives,
        "constraints": {
            name: bound.model_dump(exclude_none=True) for name, bound in sweep.constraints.items()
        },
        "trials": sweep.study.trials,
        "workers": sweep.resources.workers,
        "profile": profile.name,
        "time_limits": {
            kind: duration_text(limit)
            for kind in KINDS
            if (limit := profile.job(kind).time_min) is not None
        },
        "notes": [*_search_notes(sweep), *_profile_notes(profile)],
        "elsewhere": _elsewhere(sweep),
        "data": None if table is None else asdict(table),
        "estimate": asdict(estimate(sweep, Path("runs"), counts)),
    }


def _search_notes(sweep: SweepConfig) -> Iterator[str]:
    """Yield what the search will not do, although the definition reads as if it did."""
    left = sweep.study.trials - len(sweep.references())
    points = grid_size(sweep.search)
    if left > points:
        yield (
            f"the budget has {left} trials for the search, and the space {points:.0f} points: the "
            "run ends when all are tried"
        )
    if sweep.study.sampler == "nsga2" and left <= NSGA2_POPULATION:
        yield (
            f"sampler nsga2 draws {NSGA2_POPULATION} trials at random first, and the search has "
            f"{left}: this is random search"
        )


def _profile_notes(profile: Profile) -> Iterator[str]:
    """Yield what a profile leaves undone without a word."""
    grows = profile.retries.memory_growth > 1 and profile.retries.out_of_memory > 0
    if profile.scheduler == "slurm" and grows and profile.job("worker").mem_gb is None:
        yield (
            f"profile {profile.name} gives no mem_gb: a trial that runs out of memory is tried"
            " again with no more of it"
        )


def _elsewhere(sweep: SweepConfig) -> dict[str, str]:
    """Return the inputs that are not on this machine, by their key: hub ids, or slips."""
    from lmopt.locations import resolve

    inputs = {
        "task.dataset": sweep.task.dataset,
        "teacher.model": sweep.teacher.model,
        "student.model": sweep.student.model,
    }
    return {
        key: name
        for key, name in inputs.items()
        if name is not None and not Path(resolve(name)).exists()
    }
