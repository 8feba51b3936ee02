"""Compare the front of a million rows with moocore's front of the bare numbers."""

import time
from collections.abc import Callable

import moocore
import numpy as np
import pandas as pd

from analysis.rows.schema import COLUMNS
from analysis.selection.fronts import front_rows
from benchmarks.ratio import Ratio, in_turn

OBJECTIVES = {"accuracy_validation": "maximize", "size_bytes": "minimize", "speedup_b1": "maximize"}


def front_ratio(rounds: int, *, rows: int = 1_000_000) -> Ratio:
    """Return the time of `front_rows` on rows with all columns over that of moocore."""
    frame = some_rows(rows)
    signs = [1 if direction == "minimize" else -1 for direction in OBJECTIVES.values()]
    values = frame[list(OBJECTIVES)].to_numpy(dtype=float) * signs

    def ours() -> int:
        return len(front_rows(frame, OBJECTIVES))

    def bare() -> int:
        return int(moocore.is_nondominated(values).sum())

    if ours() != bare():
        raise RuntimeError("both must find the same front: nothing to compare")
    return in_turn(lambda: _seconds(ours), lambda: _seconds(bare), rounds)


def some_rows(count: int) -> pd.DataFrame:
    """Return completed trials with random objectives; columns that no front reads are missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({column.name: None for column in COLUMNS}, index=range(count))
    values = dict(zip(OBJECTIVES, rng.random((len(OBJECTIVES), count)), strict=True))
    return frame.assign(
        trial=np.arange(count), attempt=0, kind="search", state="COMPLETE", feasible=True,
        processor="one", processor_timed="one", **values,
    )  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
