"""Attainment surfaces: which points of objective space so many of several sets reach."""

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.pareto import as_costs

Values = NDArray[np.float64]


def attainment_surface(
    sets: Sequence[ArrayLike], directions: Sequence[str], shares: Sequence[float]
) -> Values:
    """Return the corners of one staircase for each share: what so many of the sets attain.

    A set attains a point if one of its rows is at least as good in both objectives.

    Args:
        sets: Arrays (n_i, 2) of objective values; rows with a NaN are left out.
        directions: "maximize" or "minimize" of each objective.
        shares: Least share of the sets, in (0, 1]; the smallest that is possible is of one set.

    Returns:
        (k, 3): the two objectives and the share.

    Raises:
        ValueError: An unknown direction, not two objectives, or fewer than two sets.

    Source: Grunert da Fonseca, Fonseca and Hall (2001), EMO, LNCS 1993; computed by moocore.
    """
    if len(directions) != 2 or len(sets) < 2:
        raise ValueError(
            f"attainment needs 2 objectives and at least 2 sets, got {len(directions)} and "
            f"{len(sets)}"
        )
    costs = [as_costs(values, directions) for values in sets]
    costs = [found[~np.isnan(found).any(axis=1)] for found in costs]
    labels = np.repeat(np.arange(len(costs)), [len(found) for found in costs])
    surface = moocore.eaf(np.vstack(costs), labels, percentiles=[100 * share for share in shares])
    corners = np.column_stack([as_costs(surface[:, :2], directions), surface[:, 2] / 100])
    return np.asarray(corners, dtype=float)
