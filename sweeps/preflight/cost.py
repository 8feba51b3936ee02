"""What a sweep will cost, before it runs: from trials of the same task, or from arithmetic."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.rows.table import load_results
from lmopt.methods.base import PHASES, Method, Work
from lmopt.methods.recipe import Recipe
from lmopt.models.families.limits import shape_of
from sweeps.definition.errors import ConfigError
from sweeps.definition.space import grid_size
from sweeps.definition.sweep import SweepConfig, load_sweep, parse_sweep
from sweeps.run.directory import with_absolute_paths
from sweeps.run.files import read_json

FIXED_S = 15.0  # of a trial that trains nothing: its artifact saved, evaluated and timed


class Counts(NamedTuple):
    """How many texts there are to train on, and extra ones beside them; None where nobody knows."""

    train: int | None = None
    extra: int | None = 0


@dataclass(frozen=True)
class Estimate:
    """Core-hours of a whole sweep; `basis` says what the number rests on."""

    core_hours: float | None
    basis: str


def estimate(sweep: SweepConfig, runs: Path, counts: Counts) -> Estimate:
    """Estimate the core-hours of a sweep.

    The mean trial of earlier runs of the same task and teacher under `runs`, if there are any;
    otherwise 6 floating point operations a parameter and token (Kaplan et al. 2020, section 2.1)
    at the speed of this machine in fp32: what AMX, short texts and cached stages spare, and what
    evaluation adds, leave it right to a factor of about three.
    """
    seconds = [s for path in _similar(sweep, runs) for s in _core_seconds(path)]
    if seconds:
        hours = float(np.mean(seconds)) * sweep.study.trials / 3600
        return Estimate(hours, f"mean of {len(seconds)} trials of the same task and teacher")
    operations = training_operations(sweep, counts)
    if operations is None:
        return Estimate(None, "needs data, or recipe.train_examples, and a model that are on disk")
    hours = (operations / _flops_per_core() + FIXED_S * sweep.study.trials) / 3600
    return Estimate(hours, "from arithmetic, right to a factor of about three; no such run yet")


def _similar(sweep: SweepConfig, runs: Path) -> Iterable[Path]:
    wanted = parse_sweep(with_absolute_paths(sweep), source=sweep.name)  # as a run has them
    for path in sorted(runs.glob("*/sweep.yaml")):
        with contextlib.suppress(ConfigError):  # of another version, or damaged
            other = load_sweep(path)
            if all(getattr(other, k) == getattr(wanted, k) for k in ("task", "teacher", "recipe")):
                yield path.parent


def _core_seconds(run_dir: Path) -> list[float]:
    rows = load_results(run_dir)
    complete = rows.loc[rows["state"].eq("COMPLETE"), "core_seconds"].dropna()
    return [float(value) for value in complete]


def training_operations(sweep: SweepConfig, counts: Counts) -> float | None:
    """Return the floating point operations of all trials: reference points, then the search's mean.

    None where nobody knows the number of texts, or the model's shape.
    """
    model = shape_of(model_config(sweep.student.model or sweep.teacher.model))
    teacher = shape_of(model_config(sweep.teacher.model))
    whole = {
        "layers": model.layers,
        "hidden_size": model.hidden_size,
        "train_examples": counts.train,
        "pretrain_examples": counts.extra,
    }
    reading = _matrices(teacher.layers, teacher.hidden_size)

    def work(recipe: Mapping[str, Any]) -> Work:
        texts, extra = (_at_most(recipe, whole, f"{k}_examples") for k in ("train", "pretrain"))
        return Work(_parameters(recipe, whole), reading, texts, extra, sweep.task.max_length)

    points = [recipe.model_dump() for recipe in sweep.references().values()]
    fields = (*sweep.recipe_type.epoch_fields(), *whole)
    searched = {name: _mean(sweep, name, whole.get(name)) for name in fields}
    others = sweep.study.trials - len(points)
    operations: list[float | None] = []
    for method in sweep.recipe_type.methods:
        if method.shared:
            agree = sorted(_agreeing(sweep.recipe_type, method))
            alike = {tuple(point[name] for name in agree): point for point in points}
            shapes = grid_size({k: v for k, v in sweep.search.items() if k in agree})
            asked = [*alike.values(), *[searched] * int(min(others, shapes))]
        else:
            asked = [*points, *[searched] * others]
        operations += [method.cost(recipe, work(recipe)) for recipe in asked]
    known = [number for number in operations if number is not None]
    return sum(known) if len(known) == len(operations) else None


def _agreeing(recipe: type[Recipe], method: Method) -> set[str]:
    """Return the fields in which trials agree that share one stage of a method."""
    last = PHASES.index(method.phase)
    earlier = (other for other in recipe.methods if PHASES.index(other.phase) <= last)
    training = {"train_examples", "batch_size", "freeze_embeddings", "dropout", "seed"}
    return training | {name for other in earlier for name in other.own_fields}


def model_config(model: str) -> dict[str, Any]:
    """Return a model's config.json where it is on this machine, else nothing."""
    from lmopt.locations import resolve

    return read_json(Path(resolve(model)) / "config.json") or {}


def _parameters(recipe: Mapping[str, Any], whole: Mapping[str, int | None]) -> float | None:
    """Those of a student's encoder layers."""
    layers, width = (
        whole[name] if recipe[name] is None else recipe[name] for name in ("layers", "hidden_size")
    )
    return _matrices(layers, width)


def _at_most(recipe: Mapping[str, Any], whole: Mapping[str, int | None], name: str) -> float | None:
    """How many texts a recipe takes of those that there are; None: unknown."""
    known = [count for count in (recipe[name], whole[name]) if count is not None]
    return min(known) if known else None


def _matrices(layers: float | None, hidden_size: float | None) -> float | None:
    """Parameters of attention and FFN; embeddings are looked up. None: unknown."""
    return None if layers is None or hidden_size is None else 12.0 * layers * hidden_size**2


def _mean(sweep: SweepConfig, field: str, whole: int | None) -> float | None:
    """Return a recipe field's mean over the search, or its fixed value."""
    if field not in sweep.search:
        # As it is written: the canonical recipe has no examples while nothing fixed is trained.
        value = sweep.recipe.get(field, Recipe.model_fields[field].default)
        return whole if value is None else float(value)
    values = [whole if value is None else value for value in sweep.search[field].bounds()]
    numbers = [float(value) for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def _flops_per_core() -> float:
    """Return the floating point operations a second that one matrix product reaches here."""
    from threadpoolctl import threadpool_limits

    a, seconds = np.ones((512, 512), dtype=np.float32), []
    with threadpool_limits(1):
        for _ in range(20):
            started = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - started)
    return 2 * 512**3 / min(seconds)
