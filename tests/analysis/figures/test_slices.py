"""Slices show every trial of the search where its parameter had an effect."""

import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.figures.parallel import parallel_figure
from analysis.figures.slices import slice_figure
from analysis.tables.parameter_importance import (
    searched,
    varied_parameters,
)

MakeRows = Callable[..., pd.DataFrame]


def test_slices_hold_every_searched_trial(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(60)
    names = varied_parameters(rows)
    figure = slice_figure(rows, objectives, names)
    assert len(figure.axes) == len(names) * len(objectives)
    for ax in figure.axes:
        assert sum(len(line.get_xdata()) for line in ax.lines) == len(searched(rows))


def test_what_changed_nothing_is_left_out_of_slices_and_below_its_axis(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    """Bits that were drawn for a codebook; the other parameters of these trials are shown."""
    rows = make_rows(60)
    clustered = rows["kind"].eq("search") & (rows["trial"] % 2 == 0).fillna(False)
    codebook = json.dumps({"clusters": 8, "bits": 32})
    rows["recipe_json"] = rows["recipe_json"].where(~clustered, codebook)
    models = searched(rows)
    idle = int(clustered[models.index].sum())
    assert 0 < idle < len(models)
    names = ["param_bits", "param_layers"]
    axes = slice_figure(rows, objectives, names).axes[:2]
    shown = [sum(len(line.get_xdata()) for line in ax.lines) for ax in axes]
    assert shown == [len(models) - idle, len(models)]
    ax = parallel_figure(rows, objectives, names).axes[0]
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 5]
    heights = np.array(drawn, dtype=float)
    assert (heights[:, 0] < 0).sum() == idle
    assert (heights[:, 1:] >= 0).all()


def test_ticks_of_a_slice_do_not_run_into_each_other(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    rows["param_layers"] = rows["param_layers"].map({1: 128, 2: 160}).fillna(320)
    rows["recipe_json"] = None
    figure = slice_figure(rows, objectives, ["param_layers", "param_bits"])
    figure.draw_without_rendering()
    ticks = [t for t in figure.axes[-2].get_xticklabels() if t.get_text()]
    assert {"128", "320"} <= {tick.get_text() for tick in ticks}
    boxes = [tick.get_window_extent() for tick in ticks]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
