"""The front of many rows against the bare one: equal work, and ours over theirs."""

from typing import Any

import pandas as pd
import pytest

from benchmarks import front
from benchmarks.front import front_ratio


def test_the_front_of_many_rows_is_compared_with_moocore(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(work: Any) -> float:
        work()
        return {"ours": 3.0, "bare": 2.0}[work.__name__]

    monkeypatch.setattr(front, "_seconds", seconds)
    assert front_ratio(rounds=1, rows=10_000).value == 1.5


def test_another_front_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_rows(rows: pd.DataFrame, _: Any) -> pd.DataFrame:
        return rows.head(3)

    monkeypatch.setattr(front, "front_rows", first_rows)
    with pytest.raises(RuntimeError, match="must find the same front"):
        front_ratio(rounds=1, rows=10_000)
