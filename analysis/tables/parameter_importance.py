"""Which searched parameters an objective depends on: permutation importance, held out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.selection.objectives import candidates
from analysis.selection.processors import main_processor

FEWEST_TRIALS = 10  # with less, every importance is noise
_FOLDS, _REPEATS, _TREES = 5, 5, 100
_PREFIX = "param_"
Matrix = NDArray[np.float64]


def searched(rows: pd.DataFrame) -> pd.DataFrame:
    """The completed models of the search itself: reference points have no parameters."""
    models = candidates(rows)
    return models[models["kind"].eq("search")]


def varied_parameters(rows: pd.DataFrame) -> list[str]:
    """The parameter columns that take more than one value in the search."""
    models = searched(rows)
    return [
        str(name)
        for name in models
        if str(name).startswith(_PREFIX) and models[name].astype(str).nunique() > 1
    ]


def as_numbers(values: pd.Series) -> tuple[Matrix, list[str] | None]:
    """A parameter's values (n,) as numbers; text and gaps as codes, with the names of the codes."""
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
    """How much worse a forest predicts each objective when one parameter is shuffled.

    A random forest is fitted to four fifths of the searched trials and judged on the others, five
    times; logarithms are predicted where the objective is read in ratios.

    Returns:
        `objective`, `parameter`, `importance` (mean fall of R² on held-out trials), `error`
        (standard error over the folds) and `r2` (of the forest itself, held out: at or below 0 it
        has learned nothing and the importances mean nothing). Empty with fewer than
        FEWEST_TRIALS trials or nothing varied.

    Source: Breiman (2001), Random Forests, Machine Learning 45, as
    `sklearn.inspection.permutation_importance`.
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
        falls, scores = _held_out(features, target, seed)
        tables.append(
            pd.DataFrame(
                {
                    "objective": objective,
                    "parameter": names,
                    "importance": falls.mean(axis=0),
                    "error": falls.std(axis=0, ddof=1) / np.sqrt(len(falls)),
                    "r2": scores.mean(),
                }
            )
        )
    columns = ["objective", "parameter", "importance", "error", "r2"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs = dict(rows.attrs)  # the names of the parameters
    return table


def _target(objective: str, values: Matrix) -> Matrix:
    from analysis.rows.units import display_of

    return np.log(values) if display_of(objective).log and (values > 0).all() else values


def _held_out(features: Matrix, target: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Fall of R² (folds, parameters) and R² (folds,) on the trials that were left out.

    R² is against the variance of all trials: a fold of three has hardly one of its own.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    falls, scores, variance = [], [], float(target.var())
    for train, test in KFold(_FOLDS, shuffle=True, random_state=seed).split(features):
        forest = RandomForestRegressor(_TREES, random_state=seed, min_samples_leaf=2)
        forest.fit(features[train], target[train])
        found = permutation_importance(
            forest,
            features[test],
            target[test],
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=seed,
        )
        falls.append(found.importances_mean / variance)
        error = ((forest.predict(features[test]) - target[test]) ** 2).mean()
        scores.append(1 - error / variance)
    return np.array(falls), np.array(scores)
