"""The figure of three objectives: its classes and its lines against brute force."""

import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis.figures.tradeoff import CLASSES, class_of, tradeoff_figure

MakeRows = Callable[..., pd.DataFrame]


def test_a_drop_on_a_limit_belongs_below_it() -> None:
    drops = np.array([-0.1, 0.005, 0.0051, 0.01, 0.0199, 0.02, 0.3, np.nan])
    assert class_of(drops).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_line_is_the_best_speed_to_be_had_at_a_size_and_a_loss(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(80)
    models = rows[rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")]
    baseline = models.loc[models["method"].eq("baseline").fillna(False), "accuracy_validation"]
    ax = tradeoff_figure(rows, objectives).axes[0]
    lines = [line for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) > 1]
    assert len(lines) == len(CLASSES) - 1
    for line, limit in zip(lines, CLASSES[:-1], strict=True):
        near = models[models["accuracy_validation"] >= baseline.iloc[0] - limit - 1e-12]
        corners = np.array(line.get_xydata())[1:-1]
        for x, y in corners:
            best = near.loc[near["size_bytes"] <= x * 1e6 + 1, "speedup_b1"].max()
            assert y <= best + 1e-9
        for size, speed in zip(near["size_bytes"] / 1e6, near["speedup_b1"], strict=True):
            under = corners[corners[:, 0] <= size + 1e-9, 1]
            assert under.max() >= speed - 1e-9  # no model lies beyond the line
        assert all(b[0] >= a[0] and b[1] >= a[1] for a, b in pairwise(corners))


@pytest.mark.parametrize("trials", [0, 1, 4, 24])
def test_the_named_points_are_named(
    trials: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    figure = tradeoff_figure(make_rows(trials), objectives)
    figure.draw_without_rendering()
    said = {text.get_text() for text in figure.axes[0].texts}
    assert "no completed model" in said if not trials else "teacher" in said
    assert ("best combination" in said) == (trials == 24)
    notes = " ".join(text.get_text() for text in figure.texts)
    assert ("Circled" in notes) == (trials == 24)


def test_seeds_of_a_reference_point_share_its_name(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24)
    first = rows[rows["method"].eq("distillation").fillna(False)].iloc[[0]]
    recipe = json.loads(first["recipe_json"].iloc[0]) | {"seed": 1}
    again = first.assign(trial=99, method="distillation (seed 1)", recipe_json=json.dumps(recipe))
    figure = tradeoff_figure(pd.concat([rows, again], ignore_index=True), objectives)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert "distillation" in said and not any("seed" in text for text in said)


def test_with_one_objective_beside_quality_size_and_speed_are_shown(make_rows: MakeRows) -> None:
    two = {"accuracy_validation": "maximize", "size_bytes": "minimize"}
    ax = tradeoff_figure(make_rows(24), two).axes[0]
    assert ax.get_xlabel() == "Model size (MB)"
    assert ax.get_ylabel() == "Speed-up over the fp32 teacher, batch 1 (×)"


def test_the_bars_are_inside_the_axes(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(24)
    rows = rows.assign(
        speedup_b1_low=rows["speedup_b1"] / 3, speedup_b1_high=rows["speedup_b1"] * 3
    )
    low, high = tradeoff_figure(rows, objectives).axes[0].get_ylim()
    assert low < rows["speedup_b1_low"].min() and rows["speedup_b1_high"].max() < high
