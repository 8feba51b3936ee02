"""The front of many rows against the bare one; its ratio is a number, no time is asserted."""

from benchmarks.front import front_ratio


def test_the_front_of_many_rows_is_compared_with_moocore() -> None:
    assert front_ratio(rounds=1, rows=10_000).value > 0
