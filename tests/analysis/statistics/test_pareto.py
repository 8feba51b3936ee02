"""Fronts and hypervolumes against brute force and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.statistics.pareto import front_mask, hypervolume, hypervolume_history, knee_index

# Few distinct values, so that ties, equal rows and constant columns come often.
COARSE = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, float("nan")])
VALUES = st.integers(1, 4).flatmap(
    lambda m: st.tuples(
        st.integers(0, 12).flatmap(lambda n: arrays(float, (n, m), elements=COARSE)),
        st.lists(st.sampled_from(["maximize", "minimize"]), min_size=m, max_size=m),
    )
)


def brute_force_mask(values: np.ndarray, directions: list[str]) -> list[bool]:
    costs = values * [1 if direction == "minimize" else -1 for direction in directions]
    mask = []
    for i, row in enumerate(costs):
        worse = any((other <= row).all() and (other < row).any() for other in costs)
        copy = any((other == row).all() for other in costs[:i])
        mask.append(not (np.isnan(row).any() or worse or copy))
    return mask


@given(VALUES)
def test_the_front_is_what_brute_force_finds(case: tuple[np.ndarray, list[str]]) -> None:
    values, directions = case
    assert front_mask(values, directions).tolist() == brute_force_mask(values, directions)


@given(VALUES)
def test_hypervolume_counts_the_dominated_cells(case: tuple[np.ndarray, list[str]]) -> None:
    """With values on an integer grid the volume is the number of unit cells dominated."""
    values, directions = case
    m = len(directions)
    bound = np.array([5.0 if direction == "minimize" else -1.0 for direction in directions])
    cells = np.stack(np.meshgrid(*[np.arange(6)] * m, indexing="ij"), axis=-1).reshape(-1, m)
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    covered = np.zeros(len(cells), dtype=bool)
    history = []
    for row in values:
        # Lower corner of each cell in cost space; a point covers the cells above it.
        corner = cells + (signs * bound - 6)
        if not np.isnan(row).any():
            covered |= (corner >= signs * row).all(axis=1)
        history.append(covered.sum())
    np.testing.assert_allclose(hypervolume_history(values, directions, bound), history)
    assert hypervolume(values, directions, bound) == pytest.approx(covered.sum())


def test_hypervolume_of_known_shapes() -> None:
    stairs = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    assert hypervolume(stairs, ["minimize", "minimize"], [4, 4]) == 6.0
    assert hypervolume(stairs, ["maximize", "maximize"], [0, 0]) == 6.0
    assert hypervolume([[0.9, 5.0]], ["maximize", "minimize"], [0.5, 25.0]) == pytest.approx(8.0)
    assert hypervolume([[1, 1, 1], [2, 2, 2]], ["maximize"] * 3, [0, 0, 0]) == 8.0
    assert hypervolume([[5.0, 0.0]], ["minimize", "minimize"], [4, 4]) == 0.0
    assert hypervolume([], ["minimize", "minimize"], [4, 4]) == 0.0


def test_history_never_falls_and_does_not_end_in_another_order() -> None:
    random = np.random.default_rng(0)
    values = random.random((200, 3))
    directions, bound = ["maximize", "minimize", "maximize"], [0.0, 1.0, 0.0]
    history = hypervolume_history(values, directions, bound)
    assert (np.diff(history) >= -1e-12).all()
    assert history[-1] == pytest.approx(hypervolume(values[::-1], directions, bound))


def test_front_of_one_point_of_constant_columns_and_of_equal_rows() -> None:
    assert front_mask([[1.0, 2.0]], ["maximize", "minimize"]).tolist() == [True]
    constant = [[1.0, 5.0], [2.0, 5.0], [0.0, 5.0]]
    assert front_mask(constant, ["maximize", "minimize"]).tolist() == [False, True, False]
    assert front_mask(np.ones((3, 2)), ["maximize", "minimize"]).tolist() == [True, False, False]
    assert front_mask([[np.nan, 9.0], [1.0, 1.0]], ["maximize"] * 2).tolist() == [False, True]


@pytest.mark.parametrize("m", [2, 3])
def test_a_million_rows_give_their_front(m: int) -> None:
    values = np.random.default_rng(0).normal(size=(1_000_000, m))
    mask = front_mask(values, ["maximize"] * m)
    front = values[mask]
    for row in values[np.random.default_rng(1).integers(len(values), size=50)]:
        assert (front >= row).all(axis=1).any()


def test_the_knee_is_the_corner() -> None:
    values = [[1.0, 0.0], [0.9, 0.1], [0.8, 0.8], [0.1, 0.9], [0.0, 1.0], [0.2, 0.2]]
    assert knee_index(values, ["maximize", "maximize"]) == 2
    assert knee_index([[3.0, 4.0]], ["maximize", "minimize"]) == 0
    with pytest.raises(ValueError, match="at least one row"):
        knee_index([[np.nan, 1.0]], ["maximize", "maximize"])


@given(VALUES, st.integers(0, 3))
def test_the_knee_does_not_depend_on_units(case: tuple[np.ndarray, list[str]], power: int) -> None:
    values, directions = case
    if front_mask(values, directions).any():
        scaled = values * 4.0**power + 1.0
        assert knee_index(values, directions) == knee_index(scaled, directions)


def test_wrong_directions_and_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="got 'up'"):
        front_mask([[1.0]], ["up"])
    with pytest.raises(ValueError, match=r"must be \(n, 2\), got \(1, 3\)"):
        front_mask([[1.0, 2.0, 3.0]], ["maximize", "minimize"])
