"""The hypervolume of a sweep's front against the baseline, in [0, 1]."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.selection.objectives import candidates, objective_values
from analysis.selection.processors import main_processor
from analysis.statistics.pareto import hypervolume_history

Costs = NDArray[np.float64]


def hypervolume_of(rows: pd.DataFrame, objectives: Mapping[str, str]) -> float:
    """Return the hypervolume of all completed trials; it is 0 while there is none.

    Every objective is scaled to a cost against the baseline: a minimized objective is divided by
    the baseline's value, a speed-up is inverted, a quality is subtracted from 1. The reference
    point is 1 in each objective, so the volume lies in [0, 1] and compares between runs of one
    task. Only timings of the most frequent processor type count.
    """
    rows = main_processor(rows, objectives)
    history = volume_history(candidates(rows), rows, objectives)
    return float(history[-1]) if len(history) else 0.0


def volume_history(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> Costs:
    """Return the hypervolume (n,) after each of the `models` (n rows), in their order."""
    costs = scaled_costs(models, rows, objectives)
    return hypervolume_history(costs, ["minimize"] * len(objectives), np.ones(len(objectives)))


def scaled_costs(models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]) -> Costs:
    """Return costs (n, m) against the baseline, 1 at the reference point, NaN if unknown."""
    baseline = candidates(rows[rows["method"].eq("baseline")]).head(1)
    values = objective_values(models, objectives)
    costs = np.full(values.shape, np.nan)
    for index, (name, direction) in enumerate(objectives.items()):
        if direction == "minimize":
            costs[:, index] = values[:, index] / _at_baseline(name, models, baseline)
        elif name.startswith("speedup_"):
            costs[:, index] = 1 / values[:, index]
        else:
            costs[:, index] = 1 - values[:, index]
    return costs


def _at_baseline(name: str, models: pd.DataFrame, baseline: pd.DataFrame) -> Costs:
    """Return the baseline's value (n,): as measured beside each model, else from its own row."""
    if name == "size_bytes":
        beside = _numbers(models, "size_bytes") * _numbers(models, "size_ratio")
    elif name.startswith("latency_"):
        beside = _numbers(models, name.replace("latency_", "baseline_"))
    else:
        beside = np.full(len(models), np.nan)
    own = _numbers(baseline, name)
    return np.where(np.isnan(beside), own[0] if len(own) else np.nan, beside)


def _numbers(frame: pd.DataFrame, name: str) -> Costs:
    if name not in frame:
        return np.full(len(frame), np.nan)
    return frame[name].to_numpy(dtype=float, na_value=np.nan)
