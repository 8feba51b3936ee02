"""Pareto fronts and hypervolumes of objective values, on moocore."""

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def front_mask(values: ArrayLike, directions: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows no other row dominates.

    Args:
        values: Objective values (n, m); a row with a NaN is never on the front.
        directions: "maximize" or "minimize" for each of the m objectives.

    Returns:
        A mask (n,); of equal rows the first is kept.

    Raises:
        ValueError: An unknown direction, one too many or one too few.
    """
    costs = as_costs(values, directions)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    mask = np.zeros(len(costs), dtype=bool)
    mask[known[_nondominated(costs[known])]] = True
    return mask


def hypervolume(values: ArrayLike, directions: Sequence[str], reference_point: ArrayLike) -> float:
    """Return the volume that `values` (n, m) dominate, bounded by `reference_point` (m,).

    Rows with a NaN and rows that do not dominate the reference point add nothing.

    Source: Zitzler and Thiele (1999), IEEE Transactions on Evolutionary Computation 3(4).
    """
    return float(hypervolume_history(values, directions, reference_point)[-1:].sum())


def hypervolume_history(
    values: ArrayLike, directions: Sequence[str], reference_point: ArrayLike
) -> Values:
    """Return the hypervolume (n,) after each row of `values` (n, m), in their order."""
    costs = as_costs(values, directions)
    bound = as_costs(np.atleast_2d(reference_point), directions)[0]
    history = np.zeros(len(costs))
    front, volume = np.empty((0, len(bound))), 0.0
    for index, cost in enumerate(costs):
        # Most rows are dominated (or NaN, which compares false): only the others cost anything.
        if (cost < bound).all() and not (front <= cost).all(axis=1).any():
            front = np.vstack([front[~(cost <= front).all(axis=1)], cost])
            volume = _volume(front, bound)
        history[index] = volume
    return history


def knee_index(values: ArrayLike, directions: Sequence[str]) -> int:
    """Return the index of the front's row that is closest to the front's ideal point.

    Each objective is scaled to the front's range.

    Args:
        values: Objective values (n, m).
        directions: "maximize" or "minimize" for each of the m objectives.

    Raises:
        ValueError: Every row has a NaN.

    Source: compromise programming, Zeleny (1973), with the Euclidean distance.
    """
    costs = as_costs(values, directions)
    front = np.flatnonzero(front_mask(values, directions))
    if not len(front):
        raise ValueError("a knee needs at least one row with all objectives, got none")
    best, worst = costs[front].min(axis=0), costs[front].max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    distance = np.linalg.norm((costs[front] - best) / span, axis=1)
    return int(front[distance.argmin()])


def as_costs(values: ArrayLike, directions: Sequence[str]) -> Values:
    """Return values (n, m) as floats to be minimized; applied twice, it gives the values back.

    Raises:
        ValueError: An unknown direction, one too many or too few, or no table.
    """
    for direction in directions:
        if direction not in ("maximize", "minimize"):
            raise ValueError(f'direction must be "maximize" or "minimize", got {direction!r}')
    costs = np.array(values, dtype=float)
    if costs.size == 0:
        return np.empty((0, len(directions)))
    if costs.ndim != 2 or costs.shape[1] != len(directions):
        raise ValueError(f"values must be (n, {len(directions)}), got {costs.shape}")
    return costs * np.where([direction == "maximize" for direction in directions], -1.0, 1.0)


def _nondominated(costs: Values) -> NDArray[np.intp]:
    if len(costs) and costs.shape[1] == 1:  # moocore starts at two objectives
        return np.array([costs[:, 0].argmin()])
    return np.flatnonzero(moocore.is_nondominated(costs)) if len(costs) else np.empty(0, np.intp)


def _volume(front: Values, bound: Values) -> float:
    if len(bound) == 1:
        return float((bound - front).max())
    return float(moocore.hypervolume(front, ref=bound))
