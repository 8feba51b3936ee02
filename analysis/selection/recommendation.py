"""The recommended model: the rule that picks one trial from the front.

Every choice is made on the objectives, which the search saw; test columns are never looked at.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.rows.metrics import drop_of
from analysis.rows.schema import unit_of
from analysis.rows.units import display_of
from analysis.selection.fronts import front_knee, searched_front
from analysis.selection.objectives import candidates, quality_objective
from analysis.selection.processors import main_processor

TOLERANCE = 0.01  # of quality given up for the pick: one point of accuracy
TOO_MUCH = 0.10  # of quality: whoever loses more has another model, not a smaller one
KNEE_RULE = "knee of the front, the point closest to its ideal one"


def quality_drop(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> pd.Series:
    """How much worse than the baseline each model is in the quality objective, positive is worse.

    Where `rows` hold no baseline, the difference that each row itself holds; else NaN.
    """
    quality = quality_objective(objectives)
    baseline = candidates(rows[rows["method"].eq("baseline")])[quality].dropna()
    if len(baseline):
        sign = 1.0 if objectives[quality] == "maximize" else -1.0
        return sign * (float(baseline.iloc[0]) - models[quality].astype(float))
    own = drop_of(quality)
    if own is not None and own in models:
        return models[own].astype(float)
    return pd.Series(np.nan, models.index)


def best_combination(rows: pd.DataFrame, objectives: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """The searched model that one would take: a frame of one row (none: empty), and the rule.

    The best in the first objective beside quality (the smallest) among the searched trials on the
    front that are at most one point below the baseline; if there is none, the front's knee; if that
    loses more than ten points, the trial that loses least.
    """
    rows = main_processor(rows, objectives)
    front = searched_front(rows, objectives)
    if front.empty:
        return front, _why_none(rows)
    quality = quality_objective(objectives)
    others = [name for name in objectives if name != quality]
    near = front[within(front, rows, objectives, TOLERANCE)]
    if near.empty or not others:
        knee = front_knee(rows, objectives)
        if not loses_too_much(knee, rows, objectives):
            return knee, KNEE_RULE
        return front.head(1), _least_lost(front.head(1), knee, rows, objectives)
    best = near.sort_values(others[0], ascending=objectives[others[0]] == "minimize", kind="stable")
    which = "smallest" if objectives[others[0]] == "minimize" else "largest"
    rule = (
        f"{which} {display_of(others[0]).label} on the front at most "
        f"{100 * TOLERANCE:g} point below the baseline's {display_of(quality).label}"
    )
    return best.head(1), rule


def _why_none(rows: pd.DataFrame) -> str:
    """Say why no trial of the search is on the front."""
    models = candidates(rows)
    feasible = models.loc[models["kind"].eq("search"), "feasible"]
    if len(feasible) and feasible.notna().all() and not feasible.any():
        return "no trial of the search meets the constraints"
    return "no completed trial of the search has all objectives"


def loses_too_much(model: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]) -> bool:
    """Whether a model, a frame of one row, is more than ten points below the baseline."""
    lost = quality_drop(model, rows, objectives)
    return _is_share(objectives) and bool((lost > TOO_MUCH).any())


def _is_share(objectives: Mapping[str, str]) -> bool:
    """Whether quality is a share, of which a point is known to be little and ten to be much."""
    return unit_of(quality_objective(objectives)) == "share"


def _least_lost(
    best: pd.DataFrame, knee: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> str:
    split = display_of(quality_objective(objectives)).label
    (least,), (most,) = (100 * quality_drop(one, rows, objectives) for one in (best, knee))
    if loses_too_much(best, rows, objectives):
        return f"loses least on the front, but {least:.1f} points of {split}: not worth taking"
    whose = f"whose knee, trial {knee['trial'].item()}, loses {most:.1f} points of {split}"
    return f"loses least on the front, {whose}"


def within(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str], limit: float
) -> NDArray[np.bool_]:
    """Which models are at most `limit` worse than the baseline; none where quality is no share."""
    if not _is_share(objectives):
        return np.zeros(len(models), dtype=bool)
    drop = quality_drop(models, rows, objectives).to_numpy(dtype=float)
    result: NDArray[np.bool_] = drop <= limit + 1e-12  # NaN compares false
    return result
