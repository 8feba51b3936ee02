"""Every figure of the report: drawn for few and many rows, no text cut off or on the note."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures.attainment import attainment_figure
from analysis.figures.fronts import fronts_figure
from analysis.figures.importance import importance_figure
from analysis.figures.methods import audit_figure, product_figure, subset_figure
from analysis.figures.parallel import parallel_figure
from analysis.figures.search import stage_figure, volume_figure
from analysis.figures.slices import slice_figure
from analysis.figures.style import SERIES, series
from analysis.figures.tradeoff import CLASSES, class_of, tradeoff_figure
from analysis.selection.attainment import attainment, seed_sets
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from analysis.selection.recommendation import quality_drop
from analysis.tables.claims import claim_table
from analysis.tables.method_gains import gain_products, subset_table
from analysis.tables.parameter_importance import parameter_importance, searched, varied_parameters
from analysis.tables.search_costs import stage_table

MakeRows = Callable[..., pd.DataFrame]
Objectives = Mapping[str, str]
DRAW: dict[str, Callable[[pd.DataFrame, Objectives], Figure]] = {
    "fronts": lambda rows, goals: fronts_figure({"one": rows, "two": rows}, goals),
    "tradeoff": tradeoff_figure,
    "subsets": lambda rows, goals: subset_figure(subset_table(rows, goals)),
    "products": lambda rows, goals: product_figure(gain_products(rows, goals)),
    "claims": lambda rows, goals: audit_figure(claim_table(rows, goals)),
    "volume": lambda rows, goals: volume_figure({"one": rows, "two": rows}, goals),
    "slices": lambda rows, goals: slice_figure(rows, goals, varied_parameters(rows)),
    "parallel": lambda rows, goals: parallel_figure(rows, goals, varied_parameters(rows)),
    "stages": lambda rows, _: stage_figure(stage_table(rows)),
}


def assert_no_text_is_cut(figure: Figure) -> None:
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.x1 <= width + 0.01, (drawn, width)
    assert drawn.y0 >= -0.01 and drawn.y1 <= height + 0.01, (drawn, height)


def assert_note_is_below(figure: Figure) -> None:
    (note,) = figure.texts[:1]
    top = note.get_window_extent().y1
    for ax in figure.axes:
        assert ax.get_tightbbox().y0 >= top - 1


@pytest.mark.parametrize("trials", [0, 1, 4, 24, 60])
@pytest.mark.parametrize("name", DRAW)
def test_figures_hold_their_text(
    name: str, trials: int, make_rows: MakeRows, objectives: Objectives
) -> None:
    figure = DRAW[name](make_rows(trials, rich=True), objectives)
    assert_no_text_is_cut(figure)
    assert_note_is_below(figure)


def test_importance_and_attainment_hold_their_text(
    make_rows: MakeRows, objectives: Objectives
) -> None:
    rows = make_rows(60, rich=True)
    table = parameter_importance(rows, objectives)
    for figure in (
        importance_figure(table, len(searched(rows))),
        importance_figure(table.head(0), 3),
        attainment_figure(seed_sets(rows), objectives),
    ):
        assert_no_text_is_cut(figure)
        assert_note_is_below(figure)


def test_no_two_series_look_alike_in_grey() -> None:
    assert len({(str(look["ls"]), look["marker"]) for look in SERIES}) == len(SERIES)
    assert series(len(SERIES)) == series(0)


def test_classes_of_what_is_lost() -> None:
    drop = np.array([-0.01, 0.005, 0.0051, 0.02, 0.3, np.nan])
    assert class_of(drop).tolist() == [0, 0, 1, 2, 3, 3]


def test_a_line_of_the_tradeoff_bounds_all_models_of_its_class(
    make_rows: MakeRows, objectives: Objectives
) -> None:
    rows = make_rows(60)
    models = candidates(rows)
    drop = quality_drop(models, rows, objectives)
    ax = tradeoff_figure(rows, objectives).axes[0]
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert len(lines) == len(CLASSES) - 1
    for line, limit in zip(lines, CLASSES, strict=False):
        x, y = line.get_xdata(), line.get_ydata()
        for size, speed in models.loc[drop <= limit, ["size_bytes", "speedup_b1"]].to_numpy(float):
            reached = y[x <= size / 1e6 + 1e-9]  # the best speed at that size or less
            assert reached.max() >= speed - 1e-9


def test_the_fronts_of_two_parts_are_drawn_apart(
    make_rows: MakeRows, objectives: Objectives
) -> None:
    first, second = make_rows(24), make_rows(36, seed=3)
    figure = fronts_figure({"first": first, "second": second}, objectives)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0].startswith("first (HV 0.") and labels[1].startswith("second (HV 0.")
    full = [
        line
        for line in figure.axes[0].lines
        if line.get_markersize() == 6 and len(line.get_xdata())
    ]
    for line, rows in zip(full, (first, second), strict=True):
        sizes = front_rows(rows, objectives)["size_bytes"].astype(float) / 1e6
        assert set(np.round(line.get_xdata(), 6)) <= set(np.round(sizes, 6))


def test_the_band_lies_between_the_outer_staircases(
    make_rows: MakeRows, objectives: Objectives
) -> None:
    sets = seed_sets(make_rows(60, rich=True))
    ax = attainment_figure(sets, objectives).axes[0]
    (band,) = [c for c in ax.collections if len(c.get_paths())]
    table = attainment(sets, objectives, "size_bytes")
    corners = np.vstack([path.vertices for path in band.get_paths()])
    assert corners[:, 1].max() <= 100 * table["accuracy_validation"].max() + 1e-9
    assert corners[:, 1].min() >= 100 * table["accuracy_validation"].min() - 1e-9
