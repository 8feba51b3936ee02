"""Two pieces of work timed in turn, and their ratio with its interval: never a time by itself."""

from collections.abc import Callable
from typing import NamedTuple

from analysis.statistics.uncertainty import ratio_interval

Seconds = Callable[[], float]
"""Does the work once and returns how long it took."""


class Ratio(NamedTuple):
    """How many times as long the first takes, and a 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def in_turn(first: Seconds, second: Seconds, rounds: int) -> Ratio:
    """Return time of `first` over time of `second`, medians of `rounds`.

    Each runs once to warm up. Who begins changes every round: a machine that slows down, or is
    warm from the other one, favours nobody.
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
