"""The figure shows what it says, and its text covers nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from analysis.figures.front import front_figure
from analysis.figures.fronts import fronts_figure
from analysis.figures.points import CODEBOOK, figure_points
from analysis.figures.style import save_figure
from analysis.statistics.pareto import front_mask

MakeRows = Callable[..., pd.DataFrame]


def texts(ax: Axes) -> list[Text]:
    return [text for text in ax.texts if text.get_text()]


def boxes(ax: Axes) -> list[tuple[str, np.ndarray]]:
    """Text -> corners of its box in pixels, leaders left out."""
    return [(t.get_text(), Text.get_window_extent(t).get_points()) for t in texts(ax)]


def assert_text_is_apart(figure: Figure) -> None:
    figure.draw_without_rendering()
    for ax in figure.axes:
        frame = ax.bbox.get_points()
        found = boxes(ax)
        for index, (name, (low, high)) in enumerate(found):
            assert (low >= frame[0] - 1).all(), name
            assert (high <= frame[1] + 1).all(), name
            for other, (other_low, other_high) in found[:index]:
                assert (high <= other_low).any() or (low >= other_high).any(), (name, other)


@pytest.mark.parametrize("trials", [0, 1, 3, 24, 60, 500])
def test_labels_overlap_neither_each_other_nor_the_frame(
    trials: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    figure = front_figure(make_rows(trials, seed=trials), objectives)
    assert_text_is_apart(figure)
    names = {text.get_text() for text in texts(figure.axes[0])}
    assert "linear model (TF-IDF)" in names
    if trials >= 24:
        assert {"teacher", "distillation", "pruning", "quantization", "best combination"} <= names


def test_panels_follow_the_objectives(make_rows: MakeRows) -> None:
    rows = make_rows(24)
    objectives = {"size_bytes": "minimize", "macro_f1_validation": "maximize"}
    figure = front_figure(rows, objectives)
    assert [ax.get_xlabel() for ax in figure.axes] == ["Model size (MB)"]
    assert figure.axes[0].get_ylabel() == "Test macro F1 (%)"
    assert_text_is_apart(figure)
    costs = ["folder_bytes", "latency_b1_p50_ms", "latency_b32_p50_ms"]
    three = {"accuracy_validation": "maximize"} | dict.fromkeys(costs, "minimize")
    assert len(front_figure(rows, three).axes) == 3
    with pytest.raises(ValueError, match="two objectives"):
        front_figure(rows, {"accuracy_validation": "maximize"})


def test_the_line_is_the_validation_front_at_its_test_values(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    models = rows[rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")]
    for ax, name, scale in zip(
        front_figure(rows, objectives).axes, ("size_bytes", "speedup_b1"), (1e-6, 1.0), strict=True
    ):
        pair = models[["accuracy_validation", name]].astype(float)
        front = models[front_mask(pair, ["maximize", objectives[name]])].sort_values(name)
        (line,) = [line for line in ax.lines if line.get_drawstyle() in ("steps-post", "steps-pre")]
        np.testing.assert_allclose(line.get_xdata(orig=True), front[name].astype(float) * scale)
        np.testing.assert_allclose(line.get_ydata(orig=True), front["accuracy_test"] * 100)


def test_bars_are_the_interval_of_the_paired_difference(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(3, linear=False)
    ax = front_figure(rows, objectives).axes[0]
    bars = [c.get_segments() for c in ax.collections if isinstance(c, LineCollection)]
    heights = sorted(float(s[1][1] - s[0][1]) for group in bars for s in group if len(s))
    reach = stats.t(780 - 1).ppf(0.975)  # of the 780 documents of the test split
    expected = sorted(200 * reach * rows["accuracy_drop_test_se"])
    np.testing.assert_allclose([h for h in heights if h > 0], [e for e in expected if e > 0])


def test_a_collapsed_trial_does_not_squeeze_the_others(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    rows.loc[rows["method"].eq("pruning").fillna(False), "accuracy_test"] = 0.21
    figure = front_figure(rows, objectives)
    low, high = figure.axes[0].get_ylim()
    assert 75 < low < high < 95
    assert "pruning (21.0)" in {text.get_text() for text in texts(figure.axes[0])}
    assert any(
        "Triangles at the lower edge" in " ".join(text.get_text().split()) for text in figure.texts
    )
    assert_text_is_apart(figure)


@pytest.mark.parametrize("front", [0.64, 0.33])
def test_a_linear_model_far_above_the_teacher_does_not_push_the_models_out(
    front: float, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    """A teacher of 68 %, students up to 35 points below, a linear model of 94 %."""
    rows = make_rows(24)
    quality, linear = ["accuracy_test", "accuracy_validation"], rows["kind"].eq("linear")
    rows[quality] -= rows[quality].max() - front
    rows.loc[rows["method"].eq("baseline").fillna(False), quality] = 0.68
    rows.loc[linear, quality] = 0.94
    parts = {"one": rows[linear | rows["trial"].lt(12)], "two": rows[linear | rows["trial"].ge(12)]}
    alone, several = front_figure(rows, objectives), fronts_figure(parts, objectives)
    points = figure_points(rows, objectives)
    for figure in (alone, several):
        low, high = figure.axes[0].get_ylim()
        on_front = points.loc[points["on_front"], "y"]
        assert ((on_front >= low) & (on_front <= high)).mean() >= 0.5
        assert low < 68 < high < 94
    assert_text_is_apart(alone)
    assert "linear model (TF-IDF: 94.0)" in {text.get_text() for text in texts(alone.axes[0])}
    labels = [text.get_text() for text in several.legends[0].get_texts()]
    assert "linear model (TF-IDF: 94.0)" in labels


@pytest.mark.parametrize("searched_bits", [4, None])
def test_a_codebook_is_drawn_as_one_whatever_bits_were_searched(
    searched_bits: int | None, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    here = rows["trial"].eq(10).fillna(False)
    recipe = {"layers": 2, "clusters": 8, "bits": 32}  # canonical: bits have no effect
    rows.loc[here, "recipe_json"] = json.dumps(recipe)
    rows.loc[here, "param_bits"] = searched_bits
    points = figure_points(rows, objectives).set_index("trial")
    assert points.loc[10, "bits"] == CODEBOOK
    labels = [t.get_text() for t in front_figure(rows, objectives).legends[0].get_texts()]
    assert "codebook" in labels and "-1 bits" not in labels


def test_files_are_png_svg_and_pdf_with_the_title(
    make_rows: MakeRows, objectives: dict[str, str], tmp_path: Path
) -> None:
    figure = front_figure(make_rows(24), objectives, title="BBC News")
    png, svg, pdf = save_figure(figure, tmp_path / "report" / "front.v1")
    assert [png.name, svg.name, pdf.name] == ["front.v1.png", "front.v1.svg", "front.v1.pdf"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "BBC News" in svg.read_text()
    assert "best combination" in svg.read_text()
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in pdf.read_bytes()  # journals refuse such fonts
    assert len(list((tmp_path / "report").iterdir())) == 3


def test_rows_without_uncertainty_or_parameters_are_drawn(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    bare = rows.drop(columns=[name for name in rows if str(name).startswith("param_")]).assign(
        accuracy_drop_test_se=None, accuracy_test_se=None, recipe_json=None, speedup_b1_low=None
    )
    assert_text_is_apart(front_figure(bare, objectives))


def test_no_axis_numbers_an_accuracy_above_a_hundred(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    rows = rows.assign(accuracy_test=rows["accuracy_test"] + 1 - rows["accuracy_test"].max())
    for figure in (
        front_figure(rows, objectives),
        fronts_figure({"a": rows, "b": rows}, objectives),
    ):
        low, high = figure.axes[0].get_ylim()
        assert 100 < high < 102
        assert max(t for t in figure.axes[0].get_yticks() if low <= t <= high) <= 100


def test_the_legend_names_only_the_bits_that_are_drawn_and_the_note_the_triangles(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    two = rows["recipe_json"].str.contains('"bits": 2').fillna(False) & rows["kind"].eq("search")
    assert two.any()
    names = ["accuracy_test", "accuracy_validation"]
    fallen = rows.assign(**{name: rows[name].mask(two, 0.2) for name in names})
    for shown, found in ((rows, True), (fallen, False)):
        (legend,) = front_figure(shown, objectives).legends
        assert ("2 bits" in {text.get_text() for text in legend.get_texts()}) == found
    said = " ".join(text.get_text() for text in fronts_figure({"a": fallen}, objectives).texts)
    assert "Triangles at the lower edge" in " ".join(said.split())
