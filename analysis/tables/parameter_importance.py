"""The importance of searched parameters for each objective, on held-out trials."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.rows.units import display_of
from analysis.selection.objectives import candidates
from analysis.selection.processors import main_processor
from analysis.statistics.parameter_importance import permutation_importance

FEWEST_TRIALS = 10  # with less, every importance is noise
_PREFIX = "param_"
Matrix = NDArray[np.float64]


def searched(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the completed models of the search; reference points have no parameters."""
    models = candidates(rows)
    return models[models["kind"].eq("search")]


def varied_parameters(rows: pd.DataFrame) -> list[str]:
    """Return the parameter columns that take more than one value in the search."""
    models = searched(rows)
    return [
        str(name)
        for name in models
        if str(name).startswith(_PREFIX) and models[name].astype(str).nunique() > 1
    ]


def as_numbers(values: pd.Series) -> tuple[Matrix, list[str] | None]:
    """Return a parameter's values (n,) as numbers, and the names of its codes if it has text."""
    numbers = pd.to_numeric(values.astype(object), errors="coerce")
    if numbers.notna().all():
        return numbers.to_numpy(dtype=float), None
    text = values.astype(object).where(values.notna(), "none")
    # A gap is a choice ("all layers"); numbers among the choices keep their order.
    names = sorted({str(value) for value in text}, key=_natural)
    return np.array([names.index(str(value)) for value in text], dtype=float), names


def _natural(text: str) -> tuple[bool, float, str]:
    number = pd.to_numeric(text, errors="coerce")
    return (bool(pd.isna(number)), 0.0 if pd.isna(number) else float(number), text)


def parameter_importance(
    rows: pd.DataFrame, objectives: Mapping[str, str], seed: int = 0
) -> pd.DataFrame:
    """Return how much worse a forest predicts each objective when one parameter is shuffled.

    `analysis.statistics.parameter_importance` is applied to the searched trials. If an objective
    is read in ratios, its logarithm is predicted.

    Returns:
        `objective`, `parameter`, `importance` (mean fall of R² on held-out trials), `error`
        (standard error over the folds) and `r2` (of the forest itself, held out: at or below 0 it
        has learned nothing and the importances mean nothing). Empty with fewer than
        FEWEST_TRIALS trials or nothing varied.
    """
    rows = main_processor(rows, objectives)
    models, names = searched(rows), varied_parameters(rows)
    tables = []
    for objective in objectives:
        known = models[models[objective].notna()] if objective in models else models.head(0)
        if len(known) < FEWEST_TRIALS or not names or known[objective].nunique() < 2:
            continue
        features = np.column_stack([as_numbers(known[name])[0] for name in names])
        target = _target(objective, known[objective].to_numpy(dtype=float))
        found = permutation_importance(features, target, seed)
        parts = {"importance": found.fall, "error": found.error, "r2": found.r2}
        tables.append(pd.DataFrame({"objective": objective, "parameter": names, **parts}))
    columns = ["objective", "parameter", "importance", "error", "r2"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs = dict(rows.attrs)  # the names of the parameters
    return table


def _target(objective: str, values: Matrix) -> Matrix:
    return np.log(values) if display_of(objective).log and (values > 0).all() else values
