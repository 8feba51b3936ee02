"""Parallel lines have the better end up, and their ticks are told apart."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.figures.parallel import parallel_figure
from analysis.tables.parameter_importance import (
    searched,
)

MakeRows = Callable[..., pd.DataFrame]


def test_parallel_lines_have_the_better_end_up(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    ax = parallel_figure(rows, objectives, ["param_bits"]).axes[0]
    lines = [np.array(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 4]
    models = searched(rows)
    assert len(lines) == len(models)
    heights = np.array(lines)
    assert (heights >= 0).all() and (heights <= 1).all()
    assert {0.0, 1.0} <= set(heights[:, 2].round(9))
    # Each trial's line is found by its heights: size, log and smaller is better.
    logs = np.log(models["size_bytes"].to_numpy(dtype=float))
    expected = (logs.max() - logs) / np.ptp(logs)
    np.testing.assert_allclose(np.sort(heights[:, 2]), np.sort(expected), atol=1e-9)


def test_no_two_ticks_of_a_parallel_axis_say_the_same(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    small = rows.assign(size_bytes=rows["size_bytes"] / 1e6 + 1_000_000)  # all are 1.0 MB
    ax = parallel_figure(small, {"size_bytes": "minimize"}, []).axes[0]
    said = [text.get_text() for text in ax.texts]
    assert len(said) == len(set(said)) > 2
