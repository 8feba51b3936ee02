"""Limits on columns: who meets them, who comes nearest, and by how much they are missed."""

import math

import pandas as pd
import pytest

from analysis.selection.limits import Limit, by_distance, meets, nearest

SIZE, SPEED = Limit("size_bytes", 1, 30e6), Limit("speedup_b1", -1, 4.0)
MODELS = pd.DataFrame(
    {
        "trial": [0, 1, 2, 3, 4],
        "method": ["baseline", None, None, None, None],
        "size_bytes": [90e6, 33e6, 60e6, 30e6, 20e6],
        "speedup_b1": [1.0, 4.0, 8.0, 4.0, math.nan],
    }
)


def test_a_bound_itself_is_met_and_an_unknown_number_meets_nothing() -> None:
    assert list(meets(MODELS, [SIZE, SPEED])) == [False, False, False, True, False]
    assert list(meets(MODELS, [SIZE])) == [False, False, False, True, True]


def test_the_distance_is_in_units_of_each_bound() -> None:
    # 1 is 10 % too large; 2 is 100 % too large; 0 is 200 % too large and 75 % too slow.
    assert list(by_distance(MODELS, [SIZE, SPEED])["trial"]) == [3, 1, 2, 0]


def test_the_nearest_say_which_limit_they_miss_and_by_how_much() -> None:
    first, second, third = nearest(MODELS, [SIZE, SPEED], 3)
    assert str(first) == "trial 1: size_bytes 33.0 MB, 3 MB over"
    assert (second.trial, [miss.by for miss in second.misses]) == (2, [30e6])
    assert str(third) == (
        "trial 0 (baseline): size_bytes 90.0 MB, 60 MB over; speedup_b1 1.0×, 3 × under"
    )
    assert nearest(MODELS.iloc[[3]], [SIZE, SPEED], 3) == []


def test_both_ends_of_one_column_are_two_limits() -> None:
    ends = [Limit("size_bytes", 1, 60e6), Limit("size_bytes", -1, 30e6)]
    assert list(meets(MODELS, ends)) == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (SIZE, "size_bytes at most 30 MB"),
        (SPEED, "speedup_b1 at least 4 ×"),
        (
            Limit("accuracy_drop_validation", 1, 0.005),
            "accuracy_drop_validation at most 0.5 points",
        ),
        (Limit("latency_b1_p50_ms", 1, 12.25), "latency_b1_p50_ms at most 12.25 ms"),
        (Limit("parameters", 1, 4e6), "parameters at most 4 M"),
    ],
)
def test_a_limit_is_said_with_the_unit_of_its_column(limit: Limit, said: str) -> None:
    assert limit.on_column == said
