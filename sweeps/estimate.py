"""What a sweep will cost, before it runs: from trials of the same task, or from arithmetic."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis.results import load_results
from lmopt.capability import shape
from lmopt.config import EPOCHS, Recipe
from sweeps.config import SweepConfig
from sweeps.run import read_json, with_absolute_paths

FIXED_S = 15.0  # of a trial that trains nothing: its artifact saved, evaluated and timed


@dataclass(frozen=True)
class Estimate:
    """Core-hours of a whole sweep; `basis` says what the number rests on."""

    core_hours: float | None
    basis: str


def estimate(sweep: SweepConfig, runs: Path, examples: int | None = None) -> Estimate:
    """Estimate the core-hours of a sweep; `examples` are those of its train split, where known.

    The mean trial of earlier runs of the same task and teacher under `runs`, if there are any;
    otherwise 6 floating point operations a parameter and token (Kaplan et al. 2020, section 2.1)
    at the speed of this machine in fp32: what AMX, short texts and cached stages spare, and what
    evaluation adds, leave it right to a factor of about three.
    """
    seconds = [s for path in _similar(sweep, runs) for s in _core_seconds(path)]
    if seconds:
        hours = float(np.mean(seconds)) * sweep.study.trials / 3600
        return Estimate(hours, f"mean of {len(seconds)} trials of the same task and teacher")
    operations = training_operations(sweep, examples)
    if operations is None:
        return Estimate(None, "needs data, or recipe.train_examples, and a model that are on disk")
    hours = (operations / _flops_per_core() + FIXED_S * sweep.study.trials) / 3600
    return Estimate(hours, "from arithmetic, right to a factor of about three; no such run yet")


def _similar(sweep: SweepConfig, runs: Path) -> Iterable[Path]:
    wanted = with_absolute_paths(sweep)  # as a run directory has them
    for path in sorted(runs.glob("*/sweep.yaml")):
        other = yaml.safe_load(path.read_text(encoding="utf-8"))
        if all(other.get(key) == wanted.get(key) for key in ("task", "teacher", "recipe")):
            yield path.parent


def _core_seconds(run_dir: Path) -> list[float]:
    rows = load_results(run_dir)
    complete = rows.loc[rows["state"].eq("COMPLETE"), "core_seconds"].dropna()
    return [float(value) for value in complete]


def training_operations(sweep: SweepConfig, examples: int | None) -> float | None:
    """Floating point operations of all trials: the reference points, then the search's mean.

    None where nobody knows the number of texts, or the model's shape.
    """
    model = shape(model_config(sweep.student.model or sweep.teacher.model))
    whole = {
        "layers": model["layers"],
        "hidden_size": model["hidden_size"],
        "train_examples": examples,
    }
    points = [recipe.model_dump() for recipe in sweep.references().values()]
    fields = (*EPOCHS, *whole, "pretrain_examples")
    searched = {name: _mean(sweep, name, whole.get(name)) for name in fields}
    trials = [*points, *[searched] * (sweep.study.trials - len(points))]
    operations = [_operations(trial, whole, sweep.task.max_length) for trial in trials]
    known = [number for number in operations if number is not None]
    return sum(known) if len(known) == len(operations) else None


def model_config(model: str) -> dict[str, Any]:
    """Return a model's config.json where it is on this machine, else nothing."""
    from lmopt.sources import resolve

    return read_json(Path(resolve(model)) / "config.json") or {}


def _operations(
    recipe: Mapping[str, Any], whole: Mapping[str, int | None], length: int
) -> float | None:
    """Of one trial's training; a field that is None is as the `whole` model and data have it."""
    epochs = sum(recipe[name] for name in EPOCHS)
    asked = recipe["train_examples"]
    known = [count for count in (asked, whole["train_examples"]) if count is not None]
    layers, width = (
        whole[name] if recipe[name] is None else recipe[name] for name in ("layers", "hidden_size")
    )
    if epochs == 0 or layers == 0:
        return 0.0
    if not known or layers is None or width is None:
        return None
    imitated = (min(known) + (recipe["pretrain_examples"] or 0)) * recipe["pretrain_epochs"]
    taught = min(known) * (epochs - recipe["pretrain_epochs"])
    own = 6 * _matrices(layers, width) * (imitated + taught)
    if imitated == 0:
        return float(own * length)
    if whole["layers"] is None or whole["hidden_size"] is None:
        return None
    read = 2 * _matrices(whole["layers"], whole["hidden_size"])  # by the whole model, forwards only
    return float((own + read * imitated) * length)


def _matrices(layers: float, width: float) -> float:
    """Parameters of attention and FFN; embeddings are looked up."""
    return 12.0 * layers * width**2


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
