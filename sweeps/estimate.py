"""What a sweep will cost, before it runs: from trials of the same task, or from arithmetic."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from analysis.results import load_results
from lmopt.config import EPOCHS, Recipe
from sweeps.config import SweepConfig
from sweeps.run import read_json, with_absolute_paths


@dataclass(frozen=True)
class Estimate:
    """Core-hours of a whole sweep; `basis` says what the number rests on."""

    core_hours: float | None
    basis: str


def estimate(sweep: SweepConfig, runs: Path, examples: int | None = None) -> Estimate:
    """Estimate the core-hours of a sweep; `examples` are those of its train split, where known.

    The mean trial of earlier runs of the same task and teacher under `runs`, if there are any;
    otherwise 6 floating point operations a parameter and token (Kaplan et al. 2020, section 2.1)
    at the speed of this machine, which is right to a factor of about three.
    """
    seconds = [s for path in _similar(sweep, runs) for s in _core_seconds(path)]
    if seconds:
        hours = float(np.mean(seconds)) * sweep.study.trials / 3600
        return Estimate(hours, f"mean of {len(seconds)} trials of the same task and teacher")
    tokens = _trained_tokens(sweep, examples)
    parameters = _encoder_parameters(sweep)
    if tokens is None or parameters is None:
        return Estimate(None, "needs data, or recipe.train_examples, and a model that are on disk")
    seconds_a_trial = 6 * parameters * tokens / _flops_per_core()
    hours = seconds_a_trial * sweep.study.trials / 3600
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


def _trained_tokens(sweep: SweepConfig, there: int | None = None) -> float | None:
    asked = _mean(sweep, "train_examples")
    known = [count for count in (asked, there) if count is not None]
    epochs = sum(_mean(sweep, name) or 0.0 for name in EPOCHS)
    return min(known) * epochs * sweep.task.max_length if known else None


def _mean(sweep: SweepConfig, field: str) -> float | None:
    """Return a recipe field's mean over the search, or its fixed value."""
    if field not in sweep.search:
        # As it is written: the canonical recipe has no examples while nothing fixed is trained.
        value = sweep.recipe.get(field, Recipe.model_fields[field].default)
        return None if value is None else float(value)
    values = [value for value in sweep.search[field].bounds() if value is not None]
    return float(np.mean([float(value) for value in values])) if values else None


def _encoder_parameters(sweep: SweepConfig) -> float | None:
    """Return the parameters of a trial's layers (12 h^2 each); None without a config on disk."""
    from lmopt.sources import resolve

    model = sweep.student.model or sweep.teacher.model
    config = read_json(Path(resolve(model)) / "config.json") or {}
    layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
    if "layers" in sweep.search:
        bounds = [layers if b is None else b for b in sweep.search["layers"].bounds()]
        layers = float(np.mean(np.asarray(bounds, dtype=float)))
    elif sweep.recipe.get("layers") is not None:
        layers = float(sweep.recipe["layers"])
    return 12.0 * layers * int(width) ** 2 if layers is not None and width else None


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
