"""How much each of several inputs matters for an output: permutation importance, held out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
FOLDS = 5
_REPEATS, _TREES = 5, 100


@dataclass(frozen=True)
class Importance:
    """Importance of p inputs.

    Attributes:
        fall: (p,) how much R² on held-out rows falls when an input is shuffled.
        error: (p,) its standard error over the folds.
        r2: of the forest itself, held out; at or below 0 it has learned nothing and the falls mean
            nothing.
    """

    fall: Values
    error: Values
    r2: float


def permutation_importance(features: ArrayLike, target: ArrayLike, seed: int = 0) -> Importance:
    """Fit a random forest to four fifths of the rows, judge it on the others, five times.

    R² is against the variance of all rows: a fold of three has hardly one of its own.

    Args:
        features: (n, p) inputs; a categorical one as codes.
        target: (n,) output.
        seed: of folds, forests and shuffles.

    Raises:
        ValueError: Fewer rows than folds, a constant target, or shapes that do not fit.

    Source: Breiman (2001), Random Forests, Machine Learning 45, as
    `sklearn.inspection.permutation_importance`.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance as shuffled
    from sklearn.model_selection import KFold

    x, y = _checked(features, target)
    falls, scores, variance = [], [], float(y.var())
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        forest = RandomForestRegressor(_TREES, random_state=seed, min_samples_leaf=2)
        forest.fit(x[train], y[train])
        found = shuffled(
            forest,
            x[test],
            y[test],
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=seed,
        )
        falls.append(found.importances_mean / variance)
        scores.append(1 - ((forest.predict(x[test]) - y[test]) ** 2).mean() / variance)
    fall = np.array(falls)
    error = fall.std(axis=0, ddof=1) / np.sqrt(len(fall))
    return Importance(fall.mean(axis=0), error, float(np.mean(scores)))


def _checked(features: ArrayLike, target: ArrayLike) -> tuple[Values, Values]:
    x, y = np.asarray(features, dtype=float), np.asarray(target, dtype=float)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"features must be (n, p) and target (n,), got {x.shape} and {y.shape}")
    if len(y) < FOLDS:
        raise ValueError(f"there must be at least {FOLDS} rows, got {len(y)}")
    if not y.var() > 0:
        raise ValueError("the target must vary and hold no NaN")
    return x, y
