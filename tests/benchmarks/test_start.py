"""The command line against an empty one: both run, and ours is over the empty one's."""

import pytest

from benchmarks import start
from benchmarks.ratio import in_turn
from benchmarks.start import start_ratio


def test_the_command_line_is_compared_with_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    processor_seconds = start._processor_seconds

    def seconds(*arguments: str) -> float:
        processor_seconds(*arguments)  # It raises where the command fails.
        return 6.0 if arguments == ("-m", "sweeps.cli", "--help") else 2.0

    monkeypatch.setattr(start, "_processor_seconds", seconds)
    assert start_ratio(rounds=1).value == 3.0


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
