"""Objectives of a sweep: which column is quality, and the rows that are candidates."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.rows.metrics import is_score
from analysis.rows.schema import COLUMNS
from analysis.rows.table import final_attempts

_QUALITY = {column.name for column in COLUMNS if column.group == "quality"}


def quality_objective(objectives: Mapping[str, str]) -> str:
    """Return the objective that says how good a model is: the first score or other quality.

    Raises:
        ValueError: there are no objectives.
    """
    if not objectives:
        raise UserError("objectives must name at least one column, got none")
    maximized = [name for name, direction in objectives.items() if direction == "maximize"]
    qualities = (name for name in objectives if name in _QUALITY or is_score(name))
    return next(qualities, [*maximized, *objectives][0])


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
            raise UserError(f"objective {name!r} is not a column; see docs/results-schema.md")
    return rows[list(objectives)].to_numpy(dtype=float, na_value=np.nan)
