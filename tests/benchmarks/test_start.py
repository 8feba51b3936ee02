"""The command line against an empty one; its ratio is a number, no time is asserted."""

import pytest

from benchmarks.ratio import in_turn
from benchmarks.start import start_ratio


def test_the_command_line_is_compared_with_an_empty_one() -> None:
    assert start_ratio(rounds=1).value > 0


def test_a_ratio_is_of_medians_taken_in_turn() -> None:
    calls = []

    def work(name: str, seconds: float) -> float:
        calls.append(name)
        return seconds

    ratio = in_turn(lambda: work("a", 3.0), lambda: work("b", 2.0), rounds=3)
    assert ratio == (1.5, 1.5, 1.5)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"  # the first two warm up
    with pytest.raises(ValueError, match="positive"):
        in_turn(lambda: 0.0, lambda: 1.0, rounds=1)
