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
    """Return the candidates that no other candidate dominates, the best in quality first.

    A model that breaks a constraint of the sweep is not on the front. If an objective is timed,
    models of different processor types do not dominate each other: the frame then holds one front
    for each type. With `across_processors`, speed-ups of different types are compared; use it only
    to choose which models to time again.
    """
    quality = quality_objective(objectives)
    # The other columns are read for the front's rows only: there may be a million rows.
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
    """Return the models that are better than the sweep's linear model, which is smaller than any.

    If there is no linear row, or no model is better, all models are returned.
    """
    quality = quality_objective(objectives)
    linear = rows.loc[rows["kind"].eq("linear"), quality].dropna()
    if linear.empty:
        return models
    values, line = models[quality].astype(float), float(linear.iloc[0])
    better = values > line if objectives[quality] == "maximize" else values < line
    return models[better] if better.any() else models


def searched_front(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Return the searched trials on the front; if there are none, their own front."""
    front = front_rows(rows, objectives)
    front = front[front["kind"].eq("search")]
    return front if len(front) else front_rows(rows[rows["kind"].eq("search")], objectives)


def front_knee(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Return the knee of the searched trials on the front that are better than the linear model.

    The frame has one row, or none if there is no such trial. `rows` are of one processor type.
    """
    front = above_linear(searched_front(rows, objectives), rows, objectives)
    if front.empty:
        return front
    return front.iloc[[knee_index(objective_values(front, objectives), list(objectives.values()))]]
