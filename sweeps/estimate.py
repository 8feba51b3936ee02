"""What a sweep will cost, before it runs: from trials of the same task, or from arithmetic."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.results import load_results
from lmopt.capability import shape
from lmopt.config import EPOCHS, Recipe
from sweeps.config import ConfigError, SweepConfig, load_sweep, parse_sweep
from sweeps.run import read_json, with_absolute_paths

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
    trials = [*points, *[searched] * (sweep.study.trials - len(points))]
    reading = _matrices(teacher["layers"], teacher["hidden_size"])
    length = sweep.task.max_length
    operations = [_operations(trial, whole, reading, length) for trial in trials]
    known = [number for number in operations if number is not None]
    return sum(known) if len(known) == len(operations) else None


def model_config(model: str) -> dict[str, Any]:
    """Return a model's config.json where it is on this machine, else nothing."""
    from lmopt.sources import resolve

    return read_json(Path(resolve(model)) / "config.json") or {}


def _operations(
    recipe: Mapping[str, Any],
    whole: Mapping[str, int | None],
    teacher: float | None,
    length: int,
) -> float | None:
    """Of one trial's training; a field that is None is as the `whole` model and data have it.

    `teacher`: parameters of the model that reads along where its hidden states are learned.
    """
    imitations = recipe["pretrain_epochs"]
    epochs = sum(recipe[name] for name in EPOCHS) - imitations
    layers, width = (
        whole[name] if recipe[name] is None else recipe[name] for name in ("layers", "hidden_size")
    )
    if epochs + imitations == 0 or layers == 0:
        return 0.0
    own, texts = _matrices(layers, width), _at_most(recipe, whole, "train_examples")
    if own is None or texts is None:
        return None
    operations = 6 * own * texts * epochs
    if imitations:
        extra = _at_most(recipe, whole, "pretrain_examples")
        if extra is None or teacher is None:
            return None
        operations += (6 * own + 2 * teacher) * (texts + extra) * imitations
    return float(operations * length)


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
