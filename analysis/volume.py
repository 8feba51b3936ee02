"""How much of the possible a sweep has covered: the hypervolume of its front, in [0, 1]."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pareto import hypervolume_history
from analysis.selection import candidates, objective_values


def hypervolume_of(rows: pd.DataFrame, objectives: Mapping[str, str]) -> float:
    """Hypervolume of all completed trials; 0 while there is none.

    Every objective is scaled to a cost against the baseline: what is minimized as a share of the
    baseline's value, a speed-up as its inverse, a quality as 1 minus it. The reference point is 1
    in each, so the volume lies in [0, 1] and compares between runs of one task.
    """
    history = volume_history(candidates(rows), rows, objectives)
    return float(history[-1]) if len(history) else 0.0


def volume_history(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> NDArray[np.float64]:
    """Hypervolume (n,) after each of the `models` (n rows), in their order."""
    baseline = candidates(rows[rows["method"].eq("baseline")])
    if baseline.empty or models.empty:
        return np.zeros(len(models))
    reference = objective_values(baseline, objectives)[0]
    columns = objective_values(models, objectives).T
    costs = [
        _cost(name, direction, values, at_baseline)
        for (name, direction), values, at_baseline in zip(
            objectives.items(), columns, reference, strict=True
        )
    ]
    directions = ["minimize"] * len(costs)
    return hypervolume_history(np.column_stack(costs), directions, np.ones(len(costs)))


def _cost(
    name: str, direction: str, values: NDArray[np.float64], at_baseline: float
) -> NDArray[np.float64]:
    if direction == "minimize":
        return values / at_baseline
    if name.startswith("speedup_"):
        return 1 / values
    return 1 - values
