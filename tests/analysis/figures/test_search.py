"""The figures of the search show the numbers of its tables."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.figures.parallel import parallel_figure
from analysis.figures.search import stage_figure, volume_figure
from analysis.figures.slices import slice_figure
from analysis.selection.hypervolume import hypervolume_of
from analysis.tables.parameter_importance import (
    varied_parameters,
)
from analysis.tables.search_costs import stage_table, volume_over_cost

MakeRows = Callable[..., pd.DataFrame]


def texts(ax: Axes) -> set[str]:
    return {text.get_text() for text in ax.texts}


def test_the_volume_ends_at_the_run_s_hypervolume_and_cost(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    table = volume_over_cost(rows, objectives)
    line = volume_figure({"bbc": rows}, objectives).axes[0].lines[0]
    hours, volume = np.array(line.get_xdata(orig=True)), np.array(line.get_ydata(orig=True))
    assert volume[-1] == pytest.approx(hypervolume_of(rows, objectives))
    assert (np.diff(volume.astype(float)) >= 0).all()
    attempts = rows[rows["kind"].ne("linear")]
    assert hours[-1] == pytest.approx(attempts["core_seconds"].sum() / 3600)  # failed ones too
    assert len(table) == len(attempts)


def test_the_volume_of_the_baseline_alone_is_nothing(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(1, linear=False)
    assert list(volume_over_cost(rows, objectives)["hypervolume"]) == [0.0]
    volume_figure({"bbc": rows}, objectives).draw_without_rendering()


def test_the_axis_begins_where_the_search_does_and_at_zero_without_one(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    references = rows[rows["kind"].ne("search")]
    lows = [volume_figure({"x": r}, objectives).axes[0].get_ylim()[0] for r in (rows, references)]
    assert lows[0] > 0 and lows[1] == 0


def test_stages_add_up_to_the_time_that_was_spent(make_rows: MakeRows) -> None:
    rows = make_rows(40)
    table = stage_table(rows)
    attempts = rows[rows["kind"].ne("linear")]
    assert table["seconds"].sum() == pytest.approx(attempts["seconds_total"].sum())
    assert table["share"].sum() == pytest.approx(1)
    assert table["seconds"].is_monotonic_decreasing
    assert {"distill", "latency", "between stages", "attempts without a result"} == set(
        table["stage"]
    )
    said = " ".join(texts(stage_figure(table).axes[0]))
    assert f"ran {rows['state'].eq('COMPLETE').sum() - 1}×" in said


@pytest.mark.parametrize("trials", [0, 1, 5])
def test_few_rows_make_figures_that_say_so(
    trials: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(trials)
    for figure in (
        volume_figure({"bbc": rows}, objectives),
        slice_figure(rows, objectives, varied_parameters(rows)),
        parallel_figure(rows, objectives, varied_parameters(rows)),
        stage_figure(stage_table(rows)),
    ):
        figure.draw_without_rendering()
