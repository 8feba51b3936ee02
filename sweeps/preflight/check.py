"""`lmopt check`: what a sweep definition would run, and whether its inputs are there."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmopt.config.recipe import EPOCHS, Recipe
from lmopt.models.families.limits import LIMITED, shape_refusal
from slurm.profile import Kind, Profile, load_profile
from sweeps.definition.space import describe, grid_size, probes
from sweeps.definition.sweep import SweepConfig, load_sweep
from sweeps.preflight.cost import Counts, estimate, model_config

IMITATION = ("hidden_weight", "attention_weight", "pretrain_epochs")  # of a teacher's inside


def check_inputs(sweep: SweepConfig, profile: Profile) -> Counts:
    """Look at the data and the models where they are on this machine, and at the jobs' cores.

    Return how many texts there are to train on.

    Raises:
        ValueError: A folder, file or column that is not there, a class with one example, an empty
            text, more threads than cores: one line with the remedy. A hub id can be looked up by
            the prepare job only.
    """
    from lmopt.data.dataset import build_data, load_data
    from lmopt.data.extra_texts import build_unlabelled
    from lmopt.locations import resolve

    check_threads(sweep, profile)
    task = sweep.task
    extra = Path(resolve(task.unlabelled.dataset)) if task.unlabelled is not None else None
    counts = Counts(None, None if task.has_extra_texts else 0)
    if Path(resolve(task.dataset)).exists():
        with tempfile.TemporaryDirectory() as folder:
            build_data(task, Path(folder))
            data = load_data(Path(folder))
            counts = counts._replace(train=len(data.splits["train"].labels))
            if extra.exists() if extra is not None else task.rechunk > 0:
                build_unlabelled(task, data, Path(folder))
                found = load_data(Path(folder)).splits["unlabelled"]
                counts = counts._replace(extra=len(found.labels))
    for key, model in (("teacher", sweep.teacher.model), ("student", sweep.student.model)):
        place = Path(resolve(model)) if model is not None else None
        if place is not None and place.exists() and not (place / "config.json").is_file():
            raise ValueError(f"{key}.model: no model in {place} (no config.json); name its folder")
    check_shapes(sweep)
    return counts


def check_shapes(sweep: SweepConfig) -> None:
    """Refuse what the models on this machine cannot be cut to, and losses they cannot have.

    Raises:
        ValueError: The key, what it must be, and its value.
    """
    models = {"teacher": sweep.teacher.model, "student": sweep.student.model}
    configs = {base: model_config(model) for base, model in models.items() if model is not None}
    seen: set[tuple[str, float, float | None]] = set()
    for where, recipe in _asked(sweep, {*LIMITED, *IMITATION}):
        if reason := shape_refusal(configs.get(recipe.base, {}), recipe):
            raise ValueError(f"{where}.{reason}")
        imitates = any(getattr(recipe, name) > 0 for name in IMITATION)
        asked = (recipe.base, recipe.attention_weight, recipe.dropout)
        if imitates and asked not in seen and configs.get("teacher") and configs.get(recipe.base):
            seen.add(asked)
            _check_features(where, sweep, recipe)


def _asked(sweep: SweepConfig, fields: set[str]) -> Iterator[tuple[str, Recipe]]:
    """Yield the fixed recipe, one for each searched value of some fields, and the reference points.

    What is trained at all is trained in them: a recipe without epochs has no losses. The reference
    points come last: those by default repeat what the search varies.
    """
    trained = {
        name: max(float(value or 0) for value in sweep.search[name].bounds())
        for name in EPOCHS
        if name in sweep.search
    }
    yield "recipe", sweep.make_recipe(trained)
    for field in sorted(fields & sweep.search.keys()):
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
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check_threads(sweep: SweepConfig, profile: Profile) -> None:
    """Refuse timings on fewer cores than threads: they would say nothing of the artifact.

    Raises:
        ValueError: Value, rule and remedy in one line.
    """
    timing: Kind = "measure" if profile.measure.model_fields_set else "finalize"
    for kind in ("worker", timing):
        cpus = profile.job(kind).cpus
        if sweep.runtime.threads > cpus:
            raise ValueError(
                f"runtime.threads must be at most the cpus of a {kind} job, got "
                f"{sweep.runtime.threads} threads and {cpus} cpus: change runtime.threads or the "
                f"cpus of profile {profile.name}"
            )


def plan(path: Path, on: str) -> dict[str, Any]:
    """Return what a sweep would run: space, budget, reference points, projected core-hours."""
    sweep = load_sweep(path)
    profile = load_profile(on)
    counts = check_inputs(sweep, profile)
    points = grid_size(sweep.search)
    return {
        "name": sweep.name,
        "space": {name: describe(distribution) for name, distribution in sweep.search.items()},
        "points": None if points == float("inf") else int(points),
        "fixed": sweep.recipe,
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
        "elsewhere": _elsewhere(sweep),
        "estimate": asdict(estimate(sweep, Path("runs"), counts)),
    }


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
