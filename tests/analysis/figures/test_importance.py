"""The figure of importance says when the forest has learned nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.importance import importance_figure
from analysis.tables.parameter_importance import (
    FEWEST_TRIALS,
    parameter_importance,
    searched,
)

MakeRows = Callable[..., pd.DataFrame]


def texts(ax: Axes) -> set[str]:
    return {text.get_text() for text in ax.texts}


def test_noise_teaches_the_forest_nothing_and_the_figure_says_so(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    rows["size_bytes"] = np.random.default_rng(5).permutation(len(rows)) + 1.0
    table = parameter_importance(rows, {"size_bytes": "minimize"})
    assert table["r2"].iloc[0] < 0.2
    ax = importance_figure(table.assign(r2=-0.1), 50).axes[0]
    assert ax.get_xlabel() == "the forest has learned nothing"
    assert all(bar.get_facecolor() == (1, 1, 1, 1) for bar in ax.patches)


def test_too_few_trials_have_no_importance(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(4 + FEWEST_TRIALS - 1)
    table = parameter_importance(rows, objectives)
    assert table.empty and len(searched(rows)) < FEWEST_TRIALS
    assert f"fewer than {FEWEST_TRIALS} trials" in " ".join(
        texts(importance_figure(table, len(searched(rows))).axes[0])
    )
