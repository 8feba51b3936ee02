"""Whether a run's models meet its constraints, and how far the nearest are where none does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.rows.units import counted
from analysis.selection.limits import Limit, NearPoint, nearest
from analysis.selection.objectives import candidates
from sweeps.definition.sweep import Bound
from sweeps.run.directory import Run

SHOWN = 3  # nearest models


@dataclass(frozen=True)
class Feasibility:
    """How many of the completed models meet the constraints; `near` is empty unless none does."""

    limits: tuple[Limit, ...]
    feasible: int
    completed: int
    near: tuple[NearPoint, ...]

    def lines(self) -> list[str]:
        """Return it in words, the nearest models a line each; empty before the first model."""
        if not self.completed:
            return []
        count = str(self.feasible) if self.feasible else "none"
        limits = "; ".join(limit.on_column for limit in self.limits)
        said = f"feasible: {count} of {counted(self.completed, 'model')} ({limits})"
        return [said, *(f"nearest: {point}" for point in self.near)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts; numbers are in the columns' own units."""
        return {
            "constraints": [limit.on_column for limit in self.limits],
            "feasible": self.feasible,
            "completed": self.completed,
            "nearest": [
                {
                    "trial": point.trial,
                    "method": point.method,
                    "misses": [
                        {
                            "column": miss.limit.column,
                            "at_most" if miss.limit.sign > 0 else "at_least": miss.limit.bound,
                            "value": miss.value,
                            "by": miss.by,
                        }
                        for miss in point.misses
                    ],
                }
                for point in self.near
            ],
        }


def limits_of(constraints: Mapping[str, Bound]) -> tuple[Limit, ...]:
    """Return the limits that a definition's constraints are."""
    return tuple(
        Limit(name, sign, value)
        for name, bound in constraints.items()
        for sign, value in ((1, bound.max), (-1, bound.min))
        if value is not None
    )


def feasibility_of(run: Run, rows: pd.DataFrame) -> Feasibility | None:
    """Return how the completed models of a run stand to its constraints; None without any."""
    limits = limits_of(run.sweep.constraints)
    if not limits:
        return None
    models = candidates(rows)
    feasible = int(models["feasible"].fillna(False).astype(bool).sum())
    near = [] if feasible else nearest(models, limits, SHOWN)
    return Feasibility(limits, feasible, len(models), tuple(near))
