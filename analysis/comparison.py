"""Two runs of one task against each other: their fronts, volumes, and whose points fall behind."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report import front_table
from analysis.runs import Runs, processor_note, why_not_comparable
from analysis.selection import (
    front_rows,
    is_timed,
    main_processor,
    objective_values,
    processors,
)
from analysis.volume import hypervolume_of


@dataclass(frozen=True)
class Comparison:
    """`fronts`: run -> its front's table with `dominated_by`, a trial of the other run or null."""

    fronts: dict[str, pd.DataFrame]
    hypervolumes: dict[str, float]
    judged_on: list[str]
    warning: str | None


def compare_runs(runs: Runs, objectives: Mapping[str, str]) -> Comparison:
    """Compare the fronts of two runs under one reference point, the baseline they share.

    On different processor types speed-ups do not compare: then points dominate each other by the
    other objectives alone, and `warning` says so.

    Raises:
        ValueError: not two runs, or runs whose numbers are relative to different things.
    """
    if len(runs) != 2:
        raise ValueError(f"compare takes two runs, got {len(runs)}; lmopt report takes more")
    if reason := why_not_comparable(runs):
        raise ValueError(reason)
    rows = {name: main_processor(found, objectives) for name, found in runs.items()}
    warning = processor_note(runs, objectives)
    same = len({tuple(processors(found)[:1]) for found in rows.values()}) == 1
    judged = {n: way for n, way in objectives.items() if same or not is_timed({n: way})}
    if not same:
        warning = f"{warning} Domination is judged on {', '.join(judged)} alone."
    first, second = rows
    fronts = {}
    for name, other in ((first, second), (second, first)):
        theirs = front_rows(rows[other], objectives)
        by = dominators(front_rows(rows[name], objectives), theirs, judged)
        fronts[name] = front_table(rows[name], objectives).assign(dominated_by=by)
    volumes = {name: hypervolume_of(found, objectives) for name, found in rows.items()}
    return Comparison(fronts, volumes, list(judged), warning)


def dominators(
    points: pd.DataFrame, others: pd.DataFrame, objectives: Mapping[str, str]
) -> pd.array:  # type: ignore[valid-type]
    """For each of the points (n,) the trial of the first of `others` that dominates it, or null."""
    signs = np.array([1.0 if way == "minimize" else -1.0 for way in objectives.values()])
    mine: NDArray[np.float64] = objective_values(points, objectives) * signs
    theirs: NDArray[np.float64] = objective_values(others, objectives) * signs
    found: list[int | None] = []
    for cost in mine:
        better = (theirs <= cost).all(axis=1) & (theirs < cost).any(axis=1)
        found.append(int(others["trial"].iloc[better.argmax()]) if better.any() else None)
    return pd.array(found, dtype="Int64")
