"""What a sweep will cost, before it runs: from trials of the same task, or from arithmetic."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.rows.table import load_results
from lmopt.config.recipe import EPOCHS, Recipe
from lmopt.models.families.limits import shape
from sweeps.definition.errors import ConfigError
from sweeps.definition.space import grid_size
from sweeps.definition.sweep import SweepConfig, load_sweep, parse_sweep
from sweeps.run.directory import with_absolute_paths
from sweeps.run.files import read_json

# Trials that agree in these share one pretraining, which the cache keeps.
PRETRAINING = {
    "base", "layers", "layer_choice", "hidden_size", "vocabulary_min_count", "embedding_rank",
    "pretrain_epochs", "pretrain_learning_rate", "pretrain_examples",
    "train_examples", "batch_size", "freeze_embeddings", "dropout", "seed",
}  # fmt: skip
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
    """Floating point operations of all trials: the reference points, then the search's mean.

    None where nobody knows the number of texts, or the model's shape.
    """
    model = shape(model_config(sweep.student.model or sweep.teacher.model))
    teacher = shape(model_config(sweep.teacher.model))
    whole = {
        "layers": model["layers"],
        "hidden_size": model["hidden_size"],
        "train_examples": counts.train,
        "pretrain_examples": counts.extra,
    }
    points = [recipe.model_dump() for recipe in sweep.references().values()]
    searched = {name: _mean(sweep, name, whole.get(name)) for name in (*EPOCHS, *whole)}
    others = sweep.study.trials - len(points)
    shapes = grid_size({k: v for k, v in sweep.search.items() if k in PRETRAINING})
    pretrained = {tuple(point[name] for name in sorted(PRETRAINING)): point for point in points}
    reading, length = _matrices(teacher["layers"], teacher["hidden_size"]), sweep.task.max_length
    operations = [
        *(_training(point, whole, length) for point in [*points, *[searched] * others]),
        *(_pretraining(point, whole, reading, length) for point in pretrained.values()),
        *[_pretraining(searched, whole, reading, length)] * int(min(others, shapes)),
    ]
    known = [number for number in operations if number is not None]
    return sum(known) if len(known) == len(operations) else None


def model_config(model: str) -> dict[str, Any]:
    """Return a model's config.json where it is on this machine, else nothing."""
    from lmopt.locations import resolve

    return read_json(Path(resolve(model)) / "config.json") or {}


def _training(
    recipe: Mapping[str, Any], whole: Mapping[str, int | None], length: int
) -> float | None:
    """Of one trial without pretraining; what a field leaves open is as in the `whole` model."""
    epochs = sum(recipe[name] for name in EPOCHS) - recipe["pretrain_epochs"]
    own, texts = _parameters(recipe, whole), _at_most(recipe, whole, "train_examples")
    if epochs == 0 or own == 0:
        return 0.0
    return None if own is None or texts is None else float(6 * own * texts * epochs * length)


def _pretraining(
    recipe: Mapping[str, Any], whole: Mapping[str, int | None], teacher: float | None, length: int
) -> float | None:
    """Of one student, with a forward pass of each text of a teacher of so many parameters."""
    epochs, own = recipe["pretrain_epochs"], _parameters(recipe, whole)
    if epochs == 0 or own == 0:
        return 0.0
    texts, extra = (_at_most(recipe, whole, f"{kind}_examples") for kind in ("train", "pretrain"))
    if own is None or teacher is None or texts is None or extra is None:
        return None
    return float((6 * own * epochs + 2 * teacher) * (texts + extra) * length)


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
