"""The Pareto front of a sweep's rows and its knee, chosen on the validation objectives alone."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.selection.objectives import candidates, objective_values, quality_objective
from analysis.selection.processors import is_timed, processors, timed_on
from analysis.statistics.pareto import front_mask, knee_index

_ASKED = ("trial", "attempt", "kind", "state", "feasible")


def front_rows(
    rows: pd.DataFrame, objectives: Mapping[str, str], *, across_processors: bool = False
) -> pd.DataFrame:
    """The candidates that no other dominates, the best in quality first.

    What breaks a constraint of the sweep is not on the front. Where an objective is timed, models
    of different processor types do not dominate each other: these are several fronts in one frame.
    `across_processors` takes speed-ups for comparable, which is good enough to choose what to time
    again, and for nothing else.
    """
    quality = quality_objective(objectives)
    # What is not asked of every row is taken for the front alone: rows may be a million.
    apart = is_timed(objectives) and not across_processors and timed_on(rows).nunique() > 1
    where = ["processor", "processor_timed", "timed_alone"] if apart else []
    asked = dict.fromkeys([*_ASKED, *where, *objectives])
    narrow = rows[[name for name in asked if name in rows]].assign(_at=np.arange(len(rows)))
    models = candidates(narrow)
    models = models[models["feasible"].fillna(True).astype(bool)]
    values, directions = objective_values(models, objectives), list(objectives.values())
    mask = np.zeros(len(models), dtype=bool)
    for processor in processors(narrow) if apart else [None]:
        of = models["trial"].notna()
        if processor is not None:
            of = timed_on(models).eq(processor).fillna(False)
        here = np.flatnonzero(of.to_numpy(dtype=bool))
        mask[here] = front_mask(values[here], directions)
    ascending = objectives[quality] == "minimize"
    models = models[mask].sort_values(quality, ascending=ascending, kind="stable")
    return rows.iloc[models["_at"].to_numpy(dtype=int)].set_axis(models.index)


def above_linear(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> pd.DataFrame:
    """The models that are better than the sweep's linear one, which is smaller than any of them.

    All of them where there is no linear row, or where none is better.
    """
    quality = quality_objective(objectives)
    linear = rows.loc[rows["kind"].eq("linear"), quality].dropna()
    if linear.empty:
        return models
    values, line = models[quality].astype(float), float(linear.iloc[0])
    better = values > line if objectives[quality] == "maximize" else values < line
    return models[better] if better.any() else models


def searched_front(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The searched trials on the front; where reference points dominate them all, their own."""
    front = front_rows(rows, objectives)
    front = front[front["kind"].eq("search")]
    return front if len(front) else front_rows(rows[rows["kind"].eq("search")], objectives)


def front_knee(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The knee of the searched trials on the front, as far as better than the linear model.

    A frame of one row, empty where there is no such trial. `rows` are one processor type's.
    """
    front = above_linear(searched_front(rows, objectives), rows, objectives)
    if front.empty:
        return front
    return front.iloc[[knee_index(objective_values(front, objectives), list(objectives.values()))]]
