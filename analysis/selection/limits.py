"""Limits on columns: which models meet them, and which come nearest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.rows.units import display_of, format_value

_SMALLEST_SCALE = 0.01  # A limit of 0 on a drop has no scale of its own: one point counts as one.


@dataclass(frozen=True)
class Limit:
    """A limit on a column of the rows: at most (`sign` 1) or at least (`sign` -1) `bound`."""

    column: str
    sign: int
    bound: float

    def excess(self, values: pd.Series) -> pd.Series:  # type: ignore[type-arg]
        """Return how far each value is on the wrong side; infinite where there is no value."""
        numbers = values.astype(float)
        return (self.sign * (numbers - self.bound)).fillna(math.inf)

    @property
    def word(self) -> str:
        """Say on which side of the bound a value belongs."""
        return "at most" if self.sign > 0 else "at least"

    @property
    def on_column(self) -> str:
        """Say the limit by the column's own name and the bound as typed: size_bytes at most 30 MB.

        >>> Limit("size_bytes", 1, 30e6).on_column
        'size_bytes at most 30 MB'
        """
        shown = display_of(self.column)
        return f"{self.column} {self.word} {self.bound * shown.factor:.10g} {shown.unit}".rstrip()

    def __str__(self) -> str:
        return f"{display_of(self.column).label} {self.word} {with_unit(self.column, self.bound)}"


@dataclass(frozen=True)
class Miss:
    """A limit that a model does not meet: its value and the distance, both as the column has it."""

    limit: Limit
    value: float
    by: float

    def __str__(self) -> str:
        column, shown = self.limit.column, display_of(self.limit.column)
        side = "over" if self.limit.sign > 0 else "under"
        # Two digits: a distance that is rounded to the value's decimals may read as nothing.
        by = f"{self.by * shown.factor:.2g} {shown.unit}".rstrip()
        return f"{column} {with_unit(column, self.value)}, {by} {side}"


@dataclass(frozen=True)
class NearPoint:
    """A model that misses at least one limit."""

    trial: int
    method: str | None
    misses: tuple[Miss, ...]

    def __str__(self) -> str:
        name = f"trial {self.trial}" + (f" ({self.method})" if self.method else "")
        return f"{name}: {'; '.join(str(miss) for miss in self.misses)}"


def with_unit(column: str, value: object) -> str:
    """Return a column's value as text with its unit: "9.0 MB", "0.9 points"."""
    text, unit = format_value(column, value), display_of(column).unit
    return text if unit in text else f"{text} {unit}"


def excess_table(models: pd.DataFrame, limits: Sequence[Limit]) -> pd.DataFrame:
    """Return how far each model (rows) is beyond each limit (columns, by position)."""
    missing = pd.Series(math.nan, models.index)
    return pd.DataFrame(
        {i: limit.excess(models.get(limit.column, missing)) for i, limit in enumerate(limits)},
        index=models.index,
    )


def meets(models: pd.DataFrame, limits: Sequence[Limit]) -> pd.Series:  # type: ignore[type-arg]
    """Return which models meet all limits."""
    return (excess_table(models, limits) <= 1e-12).all(axis=1)


def by_distance(models: pd.DataFrame, limits: Sequence[Limit]) -> pd.DataFrame:
    """Return the models that have all limited numbers, those that miss the limits least first.

    Each limit is missed in units of its own bound, and the parts are added up.
    """
    scale = np.array([max(abs(limit.bound), _SMALLEST_SCALE) for limit in limits])
    missed = excess_table(models, limits).clip(lower=0).to_numpy(dtype=float) / scale
    total = missed.sum(axis=1)
    order = np.argsort(total, kind="stable")
    close: pd.DataFrame = models.iloc[order[np.isfinite(total[order])]]
    return close


def nearest(models: pd.DataFrame, limits: Sequence[Limit], count: int) -> list[NearPoint]:
    """Return the models that miss the limits least, with each limit that they miss."""
    close = by_distance(models[~meets(models, limits)], limits).head(count)
    excess = excess_table(close, limits)
    points = []
    for (_, row), (_, beyond) in zip(close.iterrows(), excess.iterrows(), strict=True):
        misses = tuple(
            Miss(limit, float(row[limit.column]), float(beyond[i]))
            for i, limit in enumerate(limits)
            if beyond[i] > 1e-12
        )
        method = row.get("method")
        points.append(
            NearPoint(int(row["trial"]), None if pd.isna(method) else str(method), misses)
        )
    return points
