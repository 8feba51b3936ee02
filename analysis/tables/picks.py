"""Picks under constraints: the best model for each limit on what may be lost, and the knee."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.rows.recipes import describe, method_settings
from analysis.rows.units import display_of
from analysis.selection.fronts import front_knee, front_rows
from analysis.selection.objectives import quality_objective
from analysis.selection.processors import main_processor
from analysis.selection.recommendation import within
from analysis.tables.methods_and_front import front_table

LIMITS = (0.005, 0.01, 0.02, 0.05)  # of quality, as shares
KNEE = "knee"


def picks_table(
    rows: pd.DataFrame, objectives: Mapping[str, str], limits: Sequence[float] = LIMITS
) -> pd.DataFrame:
    """For each limit on the drop the best model in each other objective, and the front's knee.

    Returns:
        `pick`: which it is, e.g. "≤ 1 point lost: smallest" (the limit holds on the objectives'
        split, validation); `settings` of its methods; then the numbers of `front_table`. A model
        that is best in all of them stands once; a limit that nothing meets is left out.
    """
    rows = main_processor(rows, objectives)
    front, table = front_rows(rows, objectives), front_table(rows, objectives)
    quality = quality_objective(objectives)
    picks: dict[tuple[str, int], list[str]] = {}
    for limit in limits:
        near = [i for i, is_near in enumerate(within(front, rows, objectives, limit)) if is_near]
        for name, direction in objectives.items():
            values = front[name].to_numpy(dtype=float, na_value=np.nan)[near]
            if name != quality and not np.isnan(values).all():
                best = np.nanargmin(values) if direction == "minimize" else np.nanargmax(values)
                key = (f"≤ {100 * limit:g} {_points(limit)} lost", near[int(best)])
                picks.setdefault(key, []).append(superlative(name, direction))
    if len(front) > 2:
        is_knee = front["trial"].isin(front_knee(rows, objectives)["trial"])
        picks |= {(KNEE, int(index)): [] for index in np.flatnonzero(is_knee)}
    names = [f"{limit}: {', '.join(best)}" if best else limit for (limit, _), best in picks.items()]
    found = table.iloc[[index for _, index in picks]].reset_index(drop=True)
    found = found.drop(columns=[name for name in found if str(name).startswith("param_")])
    found.insert(0, "pick", pd.Series(names, dtype=object))
    settings = [describe(method_settings(front.iloc[index])) for _, index in picks]
    found.insert(2, "settings", pd.Series(settings, dtype=object))
    return found.drop(columns="method")


def superlative(name: str, direction: str) -> str:
    """An objective's best in one word or few: smallest, fastest (batch 1), least macs."""
    if timed := re.fullmatch(r"(?:speedup|latency)_b(\d+).*", name):
        return f"fastest at batch {timed[1]}"
    if name in ("size_bytes", "folder_bytes"):
        return "smallest" if name == "size_bytes" else "smallest folder"
    return f"{'least' if direction == 'minimize' else 'most'} {display_of(name).label}"


def _points(limit: float) -> str:
    return "point" if 100 * limit <= 1 else "points"
