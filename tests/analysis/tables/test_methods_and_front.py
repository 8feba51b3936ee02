"""What is chosen, on which split, and how it reads."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.page.summary import summarize
from analysis.rows.records import plain_records
from analysis.rows.units import display_of, format_value
from analysis.selection.fronts import front_knee, front_rows
from analysis.selection.objectives import quality_objective, reported
from analysis.selection.recommendation import best_combination
from analysis.tables.methods_and_front import (
    BEST,
    format_table,
    front_table,
    method_table,
)

MakeRows = Callable[..., pd.DataFrame]


def test_the_method_table_holds_each_method_once_in_order(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    table = method_table(make_rows(40), objectives)
    assert list(table["method"]) == [
        "baseline",
        "distillation",
        "pruning",
        "quantization",
        "linear",
        BEST,
    ]
    baseline, linear, best = table.iloc[0], table.iloc[4], table.iloc[5]
    assert baseline["size_share"] == 1.0
    assert baseline["accuracy_drop_test"] == 0.0
    assert best["size_share"] == pytest.approx(best["size_bytes"] / baseline["size_bytes"])
    assert pd.isna(linear["speedup_b1"])
    assert pd.isna(linear["trial"])
    assert f"trial {best['trial']}: " in best["note"]


def test_the_knee_is_better_than_the_linear_model(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    searched = rows["kind"].eq("search")
    rows.loc[searched, "accuracy_validation"] -= 0.05  # no point lost is out of reach then
    line = rows.loc[searched, "accuracy_validation"].median()
    rows.loc[rows["kind"].eq("linear"), "accuracy_validation"] = line
    best, rule = best_combination(rows, objectives)
    assert rule.startswith("knee")
    assert best["accuracy_validation"].item() > line
    rows.loc[rows["kind"].eq("linear"), "accuracy_validation"] = (
        0.99  # nothing is: the best there is
    )
    assert len(best_combination(rows, objectives)[0]) == 1


def test_the_best_combination_is_the_smallest_near_the_baseline_on_validation(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    best, rule = best_combination(rows, objectives)
    baseline = rows.loc[rows["method"].eq("baseline"), "accuracy_validation"].iloc[0]
    near = rows[rows["kind"].eq("search") & (rows["accuracy_validation"] >= baseline - 0.01)]
    assert best["size_bytes"].iloc[0] == near["size_bytes"].min()
    assert rule == (
        "smallest model size on the front at most 1 point below the baseline's validation accuracy"
    )


def test_test_numbers_choose_nothing(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(60)
    shuffled = rows.copy()
    for name in [name for name in rows if str(name).endswith(("_test", "_test_se"))]:
        shuffled[name] = rows[name].sample(frac=1, random_state=0).to_numpy()
    for of in (rows, shuffled):
        assert list(front_rows(of, objectives)["trial"]) == list(
            front_rows(rows, objectives)["trial"]
        )
        assert list(best_combination(of, objectives)[0]["trial"]) == list(
            best_combination(rows, objectives)[0]["trial"]
        )


def test_without_a_near_point_or_a_baseline_the_knee_is_taken(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    far = rows.copy()
    far.loc[far["method"].eq("baseline").fillna(False), "accuracy_validation"] = 0.95
    nothing = rows[~rows["method"].eq("baseline")].drop(columns="accuracy_drop_validation")
    for changed in (far, nothing):
        best, rule = best_combination(changed, objectives)
        assert rule.startswith("knee of the front")
        assert best["trial"].iloc[0] in set(front_rows(changed, objectives)["trial"])


def test_a_knee_at_chance_is_not_recommended(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    """A teacher of 68 %, students at chance but for one; then that one as well."""
    rows = make_rows(60)
    searched = rows["kind"].eq("search") & rows["state"].eq("COMPLETE")
    rows.loc[rows["kind"].eq("linear"), "accuracy_validation"] = 0.94
    rows.loc[rows["method"].eq("baseline").fillna(False), "accuracy_validation"] = 0.68
    students = rows["kind"].ne("linear") & rows["method"].ne("baseline").fillna(True)
    rows.loc[students, "accuracy_validation"] = 0.32 + rows["accuracy_validation"] / 100
    largest = rows.loc[searched, "size_bytes"].idxmax()
    rows.loc[largest, "accuracy_validation"] = 0.64
    best, rule = best_combination(rows, objectives)
    knee = front_knee(rows, objectives)["trial"].item()
    assert best["trial"].item() == rows.loc[largest, "trial"] != knee
    assert rule.startswith(f"loses least on the front, whose knee, trial {knee}, loses 3")
    assert summarize(rows, objectives).worth_it

    rows.loc[largest, "accuracy_validation"] = 0.4
    best, rule = best_combination(rows, objectives)
    assert best["trial"].item() == rows.loc[largest, "trial"]
    assert rule == (
        "loses least on the front, but 28.0 points of validation accuracy: not worth taking"
    )
    assert not summarize(rows, objectives).worth_it


@pytest.mark.parametrize(
    ("test", "error", "said"),
    [
        (0.0, 0.05, "17.8 points more on validation, where it was chosen"),
        (0.0, 0.20, None),  # within the standard errors
        (0.174, 0.0, None),
        (0.20, 0.05, "2.2 points more on test"),
    ],
)
def test_a_loss_that_only_one_split_shows_is_said(
    test: float, error: float, said: str | None, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60).assign(
        accuracy_drop_validation=0.178,
        accuracy_drop_validation_se=0.0,
        accuracy_drop_test=test,
        accuracy_drop_test_se=error,
    )
    found = [text for text in summarize(rows, objectives).cautions if "points more" in text]
    assert (said in found[0]) if said else not found


@pytest.mark.parametrize(("low", "high", "rough"), [(8.0, 9.0, False), (6.0, 9.1, True)])
def test_a_wide_interval_of_the_speed_is_said(
    low: float, high: float, rough: bool, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60).assign(
        speedup_b1_low=low, speedup_b1_high=high, speedup_b32_low=1.0, speedup_b32_high=1.1
    )
    cautions = summarize(rows, objectives).cautions
    assert any("speed as rough" in t and "wide interval" in t for t in cautions) == rough


def test_whose_speeds_are_rough_and_why_is_in_the_front_s_table(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(24).assign(timed_alone=True, timing_noisy=False)
    assert front_table(rows, objectives)["speed_rough"].isna().all()
    first, *_ = front_rows(rows, objectives)["trial"]
    is_first = rows["trial"].eq(first).fillna(False)
    rows = rows.assign(timed_alone=~is_first, timing_noisy=is_first)
    said = front_table(rows, objectives)["speed_rough"]
    assert said.iloc[0] == "not timed alone, other trials may have run; timing noisy to the end"
    assert said.iloc[1:].isna().all()


@pytest.mark.parametrize(("groups", "bound"), [(120, "up to 2.5"), (2, "up to 100.0"), (None, "")])
def test_no_difference_found_is_not_no_difference(
    groups: int | None, bound: str, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60).assign(
        accuracy_drop_test=0.0, accuracy_drop_test_se=0.0, groups_test=groups, examples_test=None
    )
    lost = summarize(rows, objectives).facts["Lost against the teacher"]
    assert lost.startswith("0.0 points: ") and bound in lost
    assert ("of documents may differ" in lost) == bool(groups)
    constant = rows.assign(accuracy_drop_test=0.5)  # every document loses the same
    assert "50.0 to 50.0" in summarize(constant, objectives).facts["Lost against the teacher"]


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (-0.33, "33.0 points worse than TF-IDF"),
        (0.0, "no better"),
        (0.02, "only 2.0 points better"),
    ],
)
def test_the_linear_model_is_the_measure(
    gain: float, said: str, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    linear = rows.loc[rows["kind"].eq("linear"), "accuracy_test"].iloc[0]
    rows = rows.assign(
        accuracy_test=rows["accuracy_test"].where(rows["kind"].eq("linear"), linear + gain)
    )
    assert any(said in text for text in summarize(rows, objectives).cautions)


def test_the_front_leaves_out_failed_dominated_and_linear_rows(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    front = front_rows(rows, objectives)
    assert set(front["state"]) == {"COMPLETE"}
    assert "linear" not in set(front["kind"])
    assert front["accuracy_validation"].is_monotonic_decreasing
    for point in rows[rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")].itertuples():
        at_least = (
            (front["accuracy_validation"] >= point.accuracy_validation)
            & (front["size_bytes"] <= point.size_bytes)
            & (front["speedup_b1"] >= point.speedup_b1)
        )
        assert at_least.any()


def test_a_trial_is_judged_by_its_final_attempt(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(4)
    again = rows[rows["trial"].eq(0)].assign(attempt=1, accuracy_validation=0.95, size_bytes=1)
    front = front_rows(pd.concat([rows, again]), objectives)
    assert front.iloc[0]["attempt"] == 1
    assert list(front["trial"]).count(0) == 1


@pytest.mark.parametrize("trials", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("linear", [True, False])
def test_few_rows_make_short_tables(
    trials: int, linear: bool, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(trials, linear=linear)
    table, front = method_table(rows, objectives), front_table(rows, objectives)
    assert len(table) == trials + linear
    assert len(format_table(table)) == len(table)
    assert len(format_table(front)) == len(front) <= trials
    texts = format_table(table).set_index("method")
    empty = {name: set(texts.columns[row == "–"]) for name, row in texts.iterrows()}
    unknown = {"trial", "speed b1", "speed b32"} | (set() if trials else {"size"})  # no baseline
    expected = {name: set[str]() for name in texts.index} | ({"linear": unknown} if linear else {})
    assert empty == expected


def test_a_sweep_of_failures_says_why(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(4, linear=False)
    failed = rows[["run", "study", "trial", "attempt", "kind", "method"]].assign(
        state="FAIL", error="loss is not finite"
    )
    rows = failed.reindex(columns=rows.columns).astype(rows.dtypes.to_dict())
    table = method_table(rows, objectives)
    assert set(table["note"]) == {"loss is not finite"}
    assert table["accuracy_test"].isna().all()
    assert front_table(rows, objectives).empty
    assert set(format_table(table)["speed b1"]) == {"–"}


def test_rows_without_an_objective_are_not_on_the_front(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(12)
    rows["speedup_b1"] = float("nan")
    assert front_rows(rows, objectives).empty
    assert BEST not in set(method_table(rows, objectives)["method"])
    with pytest.raises(ValueError, match="objective 'speed' is not a column"):
        front_rows(rows, {"speed": "maximize"})
    with pytest.raises(ValueError, match="at least one column"):
        front_rows(rows, {})


def test_the_front_table_has_parameters_and_objectives(make_rows: MakeRows) -> None:
    objectives = {"macro_f1_validation": "maximize", "latency_b32_p50_ms": "minimize"}
    table = front_table(make_rows(24), objectives)
    assert {"param_bits", "param_layers", "latency_b32_p50_ms", "trial"} <= set(table)
    text = format_table(table)
    assert {"bits", "layers", "accuracy, %"} <= set(text)
    assert text.map(lambda cell: isinstance(cell, str)).all(axis=None)


def test_tables_are_json(make_rows: MakeRows, objectives: dict[str, str]) -> None:
    rows = make_rows(24)
    for table in (method_table(rows, objectives), front_table(rows, objectives)):
        records = json.loads(json.dumps(plain_records(table), allow_nan=False))
        assert len(records) == len(table)
    linear = plain_records(method_table(rows, objectives))[4]
    assert linear["method"] == "linear"
    assert linear["trial"] is None
    assert linear["note"] is None


def test_the_reported_split_is_test_where_there_is_one(make_rows: MakeRows) -> None:
    rows = make_rows(4)
    assert reported("accuracy_validation", rows) == "accuracy_test"
    assert reported("size_bytes", rows) == "size_bytes"
    assert reported("accuracy_validation", rows.assign(accuracy_test=None)) == "accuracy_validation"
    assert quality_objective({"size_bytes": "minimize", "kl_test": "minimize"}) == "kl_test"
    assert quality_objective({"size_bytes": "minimize", "speedup_b1": "maximize"}) == "speedup_b1"


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("size_share", 0.04, None, "4.0 %"),
        ("accuracy_test", 0.879, 0.005, "87.9 ± 0.5"),
        ("accuracy_drop_test", -0.0012, 0.004, "-0.1 ± 0.4"),
        ("speedup_b1", 9.68, None, "9.7×"),
        ("size_bytes", 5_040_000, None, "5.0"),
        ("size_bytes", 996_000, None, "1.0"),
        ("size_bytes", 840_000, None, "0.84"),
        ("size_bytes", 118_000, None, "0.12"),
        ("size_bytes", 60_000, None, "0.06"),
        ("size_bytes", 3_318, None, "0.0033"),
        ("size_share", 3_318 / 91e6, None, "0.0036 %"),
        ("accuracy_test", 0.0, None, "0.0 %"),
        ("latency_b1_p50_ms", 2.456, None, "2.46"),
        ("param_alpha", 0.54321, None, "0.543"),
        ("param_bits", 4, None, "4"),
        ("param_device", "auto", None, "auto"),
        ("trial", 12, None, "12"),
        ("speedup_b1", float("nan"), None, "–"),
        ("trial", pd.NA, None, "–"),
        ("method", None, None, "–"),
    ],
)
def test_numbers_read_as_people_write_them(name: str, value: Any, error: Any, text: str) -> None:
    assert format_value(name, value, error) == text


def test_labels_name_quantity_unit_and_baseline() -> None:
    assert display_of("accuracy_test").axis_label == "Test accuracy (%)"
    assert display_of("size_bytes").axis_label == "Model size (MB)"
    assert display_of("speedup_b32").axis_label == "Speed-up over the fp32 teacher, batch 32 (×)"
    assert display_of("latency_b1_p50_ms").axis_label == "Median latency, batch 1 (ms)"
    assert display_of("seconds_distil").axis_label == "Seconds distil (s)"
    assert display_of("parameters").axis_label == "Parameters (M)"
    assert display_of("macs").axis_label == "Multiply-accumulates (M)"
    assert format_value("parameters", 29_118_000) == "29.12"
    assert display_of("param_sparsity").axis_label == "Sparsity"
    rows = pd.DataFrame()
    rows.attrs["shown"] = {"param_sparsity": {"label": "sparsity", "unit": "share"}}
    assert display_of("param_sparsity", rows).axis_label == "Sparsity (share)"
    assert display_of("param_epochs").axis_label == "Epochs"
    assert format_value("param_sparsity", 0.5) == "0.5"


def test_parameters_without_effect_are_blank(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(60)
    trial = front_rows(rows[rows["kind"].eq("search")], objectives)["trial"].iloc[0]
    here = rows["trial"].eq(trial).fillna(False).to_numpy(dtype=bool)
    recipe = json.loads(rows.loc[here, "recipe_json"].iloc[0]) | {"clusters": 8, "bits": 32}
    rows = rows.assign(param_clusters=np.where(here, 8.0, np.nan), param_static_width=256)
    rows.loc[here, "recipe_json"] = json.dumps(recipe | {"static_width": 256})
    rows.loc[here, "param_bits"] = 4
    front = front_table(rows, objectives, rows[rows["kind"].eq("search")])
    found = front[front["trial"].eq(trial)].iloc[0]
    assert pd.isna(found["param_bits"]) and pd.isna(found["param_static_width"])
    assert found["param_clusters"] == 8 and found["param_layers"] == recipe["layers"]
    assert front.loc[front["trial"].ne(trial), "param_bits"].notna().all()
