"""The figures of the search show the numbers of its tables, and what matters matters."""

import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.figures.search import (
    importance_figure,
    parallel_figure,
    slice_figure,
    stage_figure,
    volume_figure,
)
from analysis.selection.hypervolume import hypervolume_of
from analysis.tables.parameter_importance import (
    FEWEST_TRIALS,
    parameter_importance,
    searched,
    varied_parameters,
)
from analysis.tables.search_costs import failure_table, stage_table, volume_over_cost

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


def test_a_parameter_that_decides_an_objective_matters_most(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    rows["size_bytes"] = 1e6 * rows["param_bits"].astype(float)
    table = parameter_importance(rows, {"size_bytes": "minimize"}).set_index("parameter")
    assert table["importance"].idxmax() == "param_bits"
    others = table["importance"].drop("param_bits")
    assert (others.abs() < 0.1 * table["importance"]["param_bits"]).all()
    assert table["r2"].iloc[0] > 0.8


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


def test_failures_are_counted_by_cause(make_rows: MakeRows) -> None:
    rows = make_rows(48, linear=False)
    failed = rows[~rows["state"].eq("COMPLETE")]
    again = rows[rows["trial"].eq(12)].assign(trial=failed["trial"].iloc[0], attempt=1)
    table = failure_table(pd.concat([rows, again]))
    assert table["attempts"].sum() == len(failed)
    assert table["never_completed"].sum() == len(failed) - 1  # one was tried again
    assert set(table["cause"]) == {"DivergedError", "out of memory"}
    assert failure_table(make_rows(4)).empty


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


def test_no_two_ticks_of_a_parallel_axis_say_the_same(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    small = rows.assign(size_bytes=rows["size_bytes"] / 1e6 + 1_000_000)  # all are 1.0 MB
    ax = parallel_figure(small, {"size_bytes": "minimize"}, []).axes[0]
    said = [text.get_text() for text in ax.texts]
    assert len(said) == len(set(said)) > 2
