"""Subsets of methods against a search by hand, products against gains made to multiply."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures.methods import product_figure, subset_figure
from analysis.rows.recipes import method_settings
from analysis.rows.records import records
from analysis.tables.method_gains import (
    GAINS,
    gain_products,
    product_summary,
    subset_table,
    untried_text,
)
from analysis.tables.methods_and_front import format_table

MakeRows = Callable[..., pd.DataFrame]
LAYERS, SPARSE, EIGHT = {"layers": 2, "epochs": 1}, {"sparsity": 0.5}, {"bits": 8}


def with_gains(rows: pd.DataFrame, recipes: list[dict[str, Any]], gains: list[float]) -> Any:
    """The rows as if they were of these recipes and gained so much in size and in speed."""
    texts = [json.dumps(recipe) for recipe in recipes]
    return rows.assign(recipe_json=texts, **dict.fromkeys(GAINS, gains))


def test_one_model_stands_for_each_subset_that_was_tried(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(120, rich=True)
    table = subset_table(rows, objectives)
    models = rows[rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")]
    used = pd.Series([tuple(method_settings(r)) for r in records(models)], models.index)
    assert len(table) == used.nunique() and table["models"].sum() == len(models)
    assert table["methods"].map(len).is_monotonic_increasing
    baseline = models.loc[models["method"].eq("baseline").fillna(False), "accuracy_validation"]
    for row in records(table):
        group = models[[methods == row["methods"] for methods in used]]
        near = group[group["accuracy_validation"] >= baseline.iloc[0] - 0.01]
        assert row["models"] == len(group)
        if len(near):
            assert row["rule"] == "smallest within 1 point"
            assert row["size_bytes"] == near["size_bytes"].min()
        else:
            assert row["rule"] == "most accurate"
            best = group.loc[group["trial"].eq(row["trial"]), "accuracy_validation"].iloc[0]
            assert best == group["accuracy_validation"].max()


def test_gains_that_multiply_are_found_to(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    recipes = [{}, LAYERS, EIGHT, SPARSE, LAYERS | EIGHT, LAYERS | EIGHT | SPARSE]
    rows = with_gains(make_rows(6, linear=False), recipes, [1, 3.0, 4.0, 1.5, 12.0, 18.0])
    products = gain_products(rows, objectives)
    speeds = products[products["gain"].eq("speedup_b1")]
    assert list(speeds["methods"].map(len)) == [2, 3]
    assert set(speeds["basis"]) == {"alone"}
    np.testing.assert_allclose(speeds["expected"].astype(float), [12, 18])
    summary = product_summary(speeds)
    assert list(summary["finding"]) == ["gains multiply (within 10 %)"]
    half = with_gains(rows, recipes, [1, 3.0, 4.0, 1.5, 6.0, 9.0])
    found = product_summary(gain_products(half, objectives))
    assert set(found["finding"]) == {"together less than the product: 0.50 of the product"}


def test_a_fit_is_judged_by_its_spread_and_one_model_is_said_to_be_one() -> None:
    """A fit that multiplies has its median at 1 whatever the gains do."""
    names = {"trial": [1, 2, 3, 4], "methods": [("a", "b")] * 4, "gain": ["size_ratio"] * 4}
    fitted = pd.DataFrame(names | {"basis": "fitted", "expected": 2.0})
    tight = product_summary(fitted.assign(measured=[1.9, 2.0, 2.0, 2.1]))
    assert list(tight["finding"]) == ["gains multiply (the middle 90 % within 10 %)"]
    (wide,) = product_summary(fitted.assign(measured=[1.0, 2.0, 2.0, 4.0]))["finding"]
    assert wide.startswith("gains multiply only roughly: 0.")
    (single,) = product_summary(fitted.assign(measured=3.6, basis="alone").head(1))["finding"]
    assert single == "together more than the product: 1.80 of the product; one model only"


def test_what_was_not_measured_alone_is_fitted_to_all_other_models(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    recipes = [{}, LAYERS, LAYERS | EIGHT, LAYERS | SPARSE, LAYERS | EIGHT | SPARSE, EIGHT | SPARSE]
    gains = [1.0, 3.1, 11.0, 5.2, 17.0, 6.4]
    rows = with_gains(make_rows(6, linear=False), recipes, gains)
    products = gain_products(rows, objectives)
    found = products[products["gain"].eq("size_ratio") & products["basis"].eq("fitted")]
    design = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=float)
    logs = np.log(gains[1:])
    assert list(found["trial"]) == [2, 3, 4, 5]
    for index, expected in zip((1, 2, 3, 4), found["expected"], strict=True):
        others = np.arange(5) != index  # fitted anew, without the model
        factors = np.linalg.lstsq(design[others], logs[others], rcond=None)[0]
        assert expected == pytest.approx(np.exp(design[index] @ factors))


def test_what_no_other_model_says_is_left_out(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = with_gains(make_rows(2, linear=False), [{}, LAYERS | EIGHT], [1.0, 12.0])
    products = gain_products(rows, objectives)
    assert products.empty and product_summary(products).empty
    assert "no" in product_figure(products).axes[0].texts[0].get_text()


@pytest.mark.parametrize("trials", [0, 1, 3, 24])
def test_few_rows_make_short_tables_and_figures(
    trials: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    table = subset_table(make_rows(trials), objectives)
    assert len(format_table(table)) == len(table) <= max(trials, 1)
    subset_figure(table).draw_without_rendering()


def test_long_settings_stand_apart(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    """Three lines beside each row: as many as everything at once takes."""
    table = subset_table(make_rows(120, rich=True), objectives)
    long = "2 layers, hidden 160, words seen 1+ times, FFN 0.5, 4 clusters, embedding clusters 4"
    figure = subset_figure(table.assign(settings=long))
    figure.draw_without_rendering()
    names = figure.axes[0].get_yticklabels()
    assert len(names) == len(table) > 2
    assert all("\n" in name.get_text() for name in names)
    boxes = [name.get_window_extent() for name in names]
    assert all(below.y1 < above.y0 for above, below in pairwise(boxes))


def test_untried_subsets_are_named() -> None:
    tried = [(), ("distillation",), ("quantization",), ("distillation", "clustering")]
    assert untried_text(tried) == (
        "Not tried: clustering alone, distillation + quantization, quantization + clustering "
        "and 1 more."
    )
    assert untried_text([(), ("clustering",)]) == ""


def test_of_equal_models_the_more_accurate_and_faster_stands_for_a_subset(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    recipes = [{}, EIGHT, EIGHT, EIGHT, SPARSE, SPARSE]
    rows = with_gains(make_rows(6, linear=False), recipes, [1] * 6)
    rows = rows.assign(
        kind="search",
        method=["baseline", *[None] * 5],
        state="COMPLETE",
        size_bytes=[90, 30, 30, 30, 80, 70],
        accuracy_validation=[0.9, 0.895, 0.9, 0.9, 0.5, 0.5],
        speedup_b1=[1.0, 9.0, 2.0, 3.0, 1.0, 1.0],
    )
    chosen = subset_table(rows, objectives).set_index("methods")["trial"]
    trials = rows["trial"].tolist()
    assert chosen[("quantization",)] == trials[3] and chosen[("unstructured pruning",)] == trials[5]
    f1 = {
        "macro_f1_validation": "maximize",
        "size_bytes": "minimize",
    }  # and no baseline to lose against
    alone = rows[1:].assign(macro_f1_validation=[0.7, 0.9, 0.8, 0.5, 0.6])
    chosen = subset_table(alone, f1).set_index("methods")["trial"]
    assert chosen[("quantization",)] == trials[2] and chosen[("unstructured pruning",)] == trials[5]
