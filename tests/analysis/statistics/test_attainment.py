"""Attainment surfaces of plain arrays, on sets whose staircases are drawn by hand."""

import numpy as np
import pytest

from analysis.statistics.attainment import attainment_surface

# Two sets, the first objective to be maximized, the second to be minimized.
ONE = [[0.9, 4.0], [0.8, 2.0], [np.nan, 1.0]]
TWO = [[0.85, 3.0]]


def corners(share: float) -> set[tuple[float, float]]:
    surface = attainment_surface([ONE, TWO], ["maximize", "minimize"], [share])
    assert (surface[:, 2] == share).all()
    return {(quality, cost) for quality, cost, _ in surface}


def test_one_of_the_sets_attains_the_union_s_front() -> None:
    assert corners(0.5) == {(0.9, 4.0), (0.85, 3.0), (0.8, 2.0)}


def test_both_sets_attain_what_the_worse_of_them_does() -> None:
    assert corners(1.0) == {(0.85, 4.0), (0.8, 3.0)}


@pytest.mark.parametrize(
    ("sets", "directions"),
    [([ONE], ["maximize", "minimize"]), ([ONE, TWO], ["maximize"])],
)
def test_one_set_or_one_objective_has_no_surface(
    sets: list[list[list[float]]], directions: list[str]
) -> None:
    with pytest.raises(ValueError, match="2 objectives and at least 2 sets"):
        attainment_surface(sets, directions, [0.5])
