"""Two runs of one task compared: their fronts, hypervolumes, and dominated points."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.selection.fronts import front_rows
from analysis.selection.hypervolume import hypervolume_of
from analysis.selection.objectives import objective_values
from analysis.selection.processors import is_timed, main_processor, processors
from analysis.selection.runs import Runs, processor_note, why_not_comparable
from analysis.tables.methods_and_front import front_table


@dataclass(frozen=True)
class Comparison:
    """Two runs compared.

    `fronts` has each run's front as a table; `dominated_by` is a trial of the other run, or null.
    """

    fronts: dict[str, pd.DataFrame]
    hypervolumes: dict[str, float]
    judged_on: list[str]
    warning: str | None


def compare_runs(runs: Runs, objectives: Mapping[str, str]) -> Comparison:
    """Compare the fronts of two runs under one reference point, the baseline they share.

    On different processor types speed-ups do not compare: then points dominate each other by the
    other objectives alone, and `warning` says so.

    Raises:
        UserError: Not two runs, or runs whose numbers do not compare.
    """
    if len(runs) != 2:
        raise UserError(f"compare takes two runs, got {len(runs)}; lmopt report takes more")
    if reason := why_not_comparable(runs):
        raise UserError(reason)
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
    """Return for each point (n,) the trial of the first of `others` that dominates it, or null.

    A dominating trial is at least as good in every objective as measured and surely better in one.
    A speed-up whose interval meets the point's is not surely better; an equal artifact never is.
    """
    mine, theirs = (_costs(frame, objectives) for frame in (points, others))  # (3, n, m) each
    hashes = others.get("artifact_hash", pd.Series(pd.NA, others.index))
    found: list[int | None] = []
    for index, own in enumerate(points.get("artifact_hash", [pd.NA] * len(points))):
        measured, (best, _) = mine[0, index], np.sort(mine[1:, index], axis=0)
        surely = (theirs[1:].max(axis=0) < best).any(axis=1)
        another = hashes.ne(own).fillna(True).to_numpy(dtype=bool)
        better = (theirs[0] <= measured).all(axis=1) & surely & another
        found.append(int(others["trial"].iloc[better.argmax()]) if better.any() else None)
    return pd.array(found, dtype="Int64")


def _costs(models: pd.DataFrame, objectives: Mapping[str, str]) -> NDArray[np.float64]:
    """Return costs (3, n, m), smaller is better: as measured, and at both ends of the interval.

    If an objective has no interval, both ends are the value itself.
    """
    values = objective_values(models, objectives)
    costs = np.stack([values] * 3)
    for column, (name, direction) in enumerate(objectives.items()):
        for end, bound in ((1, f"{name}_low"), (2, f"{name}_high")):
            if bound in models:
                known = models[bound].to_numpy(dtype=float, na_value=np.nan)
                costs[end, :, column] = np.where(np.isnan(known), values[:, column], known)
        costs[:, :, column] *= 1.0 if direction == "minimize" else -1.0
    return costs
