"""Which rows count: those on the front, and the one that is taken home.

Everything here is chosen on the objectives, which the search saw (validation); test columns are
never looked at, so that what the report says of them is not the luck of a choice.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.display import display_of
from analysis.pareto import front_mask, knee_index
from analysis.results import COLUMNS, final_attempts

TOLERANCE = 0.01  # of quality given up for the pick: one point of accuracy
TOO_MUCH = 0.10  # of quality: whoever loses more has another model, not a smaller one
KNEE_RULE = "knee of the front, the point closest to its ideal one"
_QUALITY = {column.name for column in COLUMNS if column.group == "quality"}
_ASKED = ("trial", "attempt", "kind", "state", "feasible")
_SHARES = {column.name for column in COLUMNS if column.unit == "share"}


def quality_objective(objectives: Mapping[str, str]) -> str:
    """The objective that says how good a model is: the first of the schema's quality columns.

    Raises:
        ValueError: there are no objectives.
    """
    if not objectives:
        raise ValueError("objectives must name at least one column, got none")
    maximized = [name for name, direction in objectives.items() if direction == "maximize"]
    return next((name for name in objectives if name in _QUALITY), [*maximized, *objectives][0])


def reported(name: str, rows: pd.DataFrame) -> str:
    """The column that is reported for an objective: its test split's where the rows have one."""
    test = name.removesuffix("_validation") + "_test"
    return test if test in rows and rows[test].notna().any() else name


def candidates(rows: pd.DataFrame) -> pd.DataFrame:
    """The completed models of a sweep, one row a trial, without the linear one."""
    final = final_attempts(rows)
    return final[final["state"].eq("COMPLETE") & final["kind"].ne("linear")]


def objective_values(rows: pd.DataFrame, objectives: Mapping[str, str]) -> NDArray[np.float64]:
    """(n, m) values of the objectives, NaN where a row has none.

    Raises:
        ValueError: an objective is not a column.
    """
    for name in objectives:
        if name not in rows:
            raise ValueError(f"objective {name!r} is not a column; see docs/results-schema.md")
    return rows[list(objectives)].to_numpy(dtype=float, na_value=np.nan)


def is_timed(objectives: Mapping[str, str]) -> bool:
    """Whether an objective is a time or a ratio of times: one processor's then."""
    return any(name.startswith(("speedup_", "latency_")) for name in objectives)


def timed_on(rows: pd.DataFrame) -> pd.Series:
    """The processor type of each row's timings, which may not be that of its accuracy."""
    if "processor_timed" not in rows:  # compacted before there was such a column
        return rows["processor"]
    return rows["processor_timed"].where(rows["processor_timed"].notna(), rows["processor"])


def timed_processor(row: Mapping[str, object]) -> object:
    """As `timed_on`, of one row; None where nobody knows."""
    names = [row.get(name) for name in ("processor_timed", "processor")]
    return next((name for name in names if isinstance(name, str)), None)


def processors(rows: pd.DataFrame) -> list[str]:
    """The processor types that count, the one with most models first.

    Once models were timed alone, which is done to a front and on the processor that it is meant
    for, only such types count: timings that were taken in passing elsewhere were for the search.
    """
    models = candidates(rows)
    alone, names = models["timed_alone"].fillna(False).astype(bool), timed_on(models)
    counted = names[alone] if names[alone].notna().any() else names
    return [str(name) for name in counted.dropna().value_counts().index]


def main_processor(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The rows without what was timed on another processor type than the one with most models."""
    names = timed_on(rows)
    if not is_timed(objectives) or names.nunique() < 2:
        return rows
    timed_here = names.isna() | names.eq(processors(rows)[0])
    return rows[timed_here | rows["kind"].eq("linear")]


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
    own = quality.replace("accuracy_", "accuracy_drop_")
    if own in models and own != quality:
        return models[own].astype(float)
    return pd.Series(np.nan, models.index)


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


def best_combination(rows: pd.DataFrame, objectives: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """The searched model that one would take: a frame of one row (none: empty), and the rule.

    The best in the first objective beside quality (the smallest) among the searched trials on the
    front that are at most one point below the baseline; if there is none, the front's knee; if that
    loses more than ten points, the trial that loses least.
    """
    rows = main_processor(rows, objectives)
    front = searched_front(rows, objectives)
    if front.empty:
        return front, "no completed trial of the search has all objectives"
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


def loses_too_much(model: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]) -> bool:
    """Whether a model, a frame of one row, is more than ten points below the baseline."""
    lost = quality_drop(model, rows, objectives)
    return quality_objective(objectives) in _SHARES and bool((lost > TOO_MUCH).any())


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
    if quality_objective(objectives) not in _SHARES:
        return np.zeros(len(models), dtype=bool)
    drop = quality_drop(models, rows, objectives).to_numpy(dtype=float)
    result: NDArray[np.bool_] = drop <= limit + 1e-12  # NaN compares false
    return result
