"""Time two pieces of work in turn, and return their ratio with its interval."""

from collections.abc import Callable
from typing import NamedTuple

from analysis.statistics.uncertainty import ratio_interval

Seconds = Callable[[], float]
"""A function that does the work once and returns its time in seconds."""


class Ratio(NamedTuple):
    """The time of the first work over that of the second, and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def in_turn(first: Seconds, second: Seconds, rounds: int) -> Ratio:
    """Return the time of `first` over the time of `second`, medians of `rounds`.

    Each runs once to warm up. The order changes every round, so that neither a slowing machine nor
    caches filled by the other work bias the ratio.
    """
    first(), second()
    pairs = []
    for number in range(rounds):
        if number % 2:
            late = second()
            pairs.append((first(), late))
        else:
            pairs.append((first(), second()))
    return Ratio(*ratio_interval(*zip(*pairs, strict=True)))
