"""Metrics in the rows: named, checked, shown and chosen by; rows of schema 1 beside them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.figures.points import figure_points
from analysis.page.summary import summarize
from analysis.rows.metrics import drop_column, drop_of, is_score, metric_column, score_column
from analysis.rows.table import compact, final_attempts, load_results, read_rows, write_row
from analysis.rows.units import display_of, format_value
from analysis.selection.objectives import candidates, quality_objective, reported
from analysis.selection.query import matching, sorted_by
from analysis.selection.recommendation import loses_too_much, quality_drop
from analysis.statistics.uncertainty import critical_value
from analysis.tables.methods_and_front import front_table, method_table
from tests.analysis.conftest import example_rows, write_run

Row = dict[str, Any]
MACRO = {"macro_f1_validation": "maximize", "size_bytes": "minimize"}
# A row as version 0.1 of lmopt wrote it, column by column.
SCHEMA_1 = {
    "schema_version": 1, "run": "old", "study": "old", "attempt": 0, "kind": "search",
    "state": "COMPLETE", "recipe_json": '{"bits": 8}', "recipe_key": "k", "seed": 0,
    "accuracy_validation": 0.9, "accuracy_validation_se": 0.01, "macro_f1_validation": 0.89,
    "accuracy_drop_validation": 0.01, "accuracy_drop_validation_se": 0.004,
    "examples_validation": 100, "groups_validation": 30, "accuracy_test": 0.88,
    "accuracy_test_se": 0.01, "macro_f1_test": 0.87, "accuracy_drop_test": 0.02,
    "accuracy_drop_test_se": 0.005, "examples_test": 200, "groups_test": 60,
    "agreement_test": 0.97, "kl_test": 0.01, "size_bytes": 5_000_000, "size_ratio": 4.0,
    "speedup_b1": 2.0, "speedup_b1_low": 1.9, "speedup_b1_high": 2.1, "param_bits": 8,
}  # fmt: skip


def with_metrics(row: Row) -> Row:
    """A row of today's version: macro-F1 with its error, and its drop in pairs."""
    if row["state"] != "COMPLETE":
        return row
    new = {
        f"{kind}_macro_f1_{split}{end}": value + (0.001 if end else 0)
        for split in ("validation", "test")
        for kind, value in (
            ("score", row[f"macro_f1_{split}"]),
            ("drop", row[f"accuracy_drop_{split}"] + 0.001),
        )
        for end in ("", "_se")
    }
    errors = {name: 0.004 for name in new if name.endswith("_se")}
    return row | new | errors


@pytest.fixture(name="rows")
def _rows(tmp_path: Path) -> pd.DataFrame:
    return read_rows(write_run(tmp_path / "run", [with_metrics(row) for row in example_rows(24)]))


@pytest.fixture(name="mixed")
def _mixed(tmp_path: Path) -> Path:
    """A run that an older lmopt began and this one went on with."""
    run = write_run(tmp_path / "mixed", [with_metrics(row) for row in example_rows(12)])
    for trial in (12, 13):
        old = {name: pa.array([value]) for name, value in SCHEMA_1.items()}
        table = pa.table({**old, "trial": pa.array([trial]), "size_bytes": pa.array([trial * 10])})
        pq.write_table(table, run / "trials" / f"{trial}-0.parquet")
    return run


def test_names_are_taken_apart_as_they_are_made() -> None:
    for metric in ("accuracy", "macro_f1", "ndcg_10", "bits_per_byte"):
        for split in ("validation", "test"):
            score, drop = score_column(metric, split), drop_column(metric, split)
            for name, kind in ((score, "score"), (drop, "drop")):
                assert metric_column(name) == (kind, metric, split, False)
                assert metric_column(f"{name}_se") == (kind, metric, split, True)
            assert drop_of(score) == drop and drop_of(drop) is None
            assert is_score(score, split) and not is_score(drop) and not is_score(f"{score}_se")
    assert score_column("accuracy", "test") == "accuracy_test"
    assert drop_column("accuracy", "test") == "accuracy_drop_test"
    assert drop_of("macro_f1_test") == "drop_macro_f1_test"
    for other in ("size_bytes", "speedup_b1", "score_", "score_macro_f1", "agreement_test"):
        assert metric_column(other) is None and drop_of(other) is None


def test_a_metric_is_shown_in_its_unit() -> None:
    assert format_value("score_macro_f1_test", 0.875, 0.01) == "87.5 ± 1.0"
    assert display_of("score_macro_f1_test").axis_label == "Test macro F1 (%)"
    assert display_of("drop_macro_f1_test").axis_label == "Test macro F1 drop (points)"
    assert display_of("macro_f1_validation").label == "validation macro F1"
    assert display_of("accuracy_drop_validation").label == "validation drop"
    unknown = display_of("score_bits_per_byte_test")
    assert (unknown.label, unknown.unit, unknown.factor) == ("test bits per byte", "", 1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score_macro_f1": 0.5}, "must end in _validation or _test"),
        ({"drop_macro_f1_train": 0.5}, "must end in _validation or _test"),
        ({"score_macro_f1_test": 1.5}, "a share in"),
        ({"score_macro_f1_test": float("nan")}, "must be finite"),
        ({"score_macro_f1_test": "0.5"}, "must be double"),
        ({"state": "FAIL", "error": "x", "score_x_test": 0.5}, "must be empty in a row of state"),
        ({"state": "PRUNED", "drop_x_test_se": 0.5}, "must be empty in a row of state PRUNED"),
        ({"accuracy_validation": None}, "must have accuracy_validation"),
    ],
)
def test_what_a_metric_cannot_be_is_refused(tmp_path: Path, changes: Row, said: str) -> None:
    names = ("run", "study", "attempt", "kind", "state", "size_bytes")
    row = {name: SCHEMA_1[name] for name in names} | {"trial": 0, "accuracy_validation": 0.5}
    if changes.get("state"):
        del row["accuracy_validation"], row["size_bytes"]
    with pytest.raises(ValueError, match=said):
        write_row(row | changes, tmp_path / "0-0.parquet")


def test_a_task_without_accuracy_has_complete_rows(tmp_path: Path) -> None:
    names = ("run", "study", "attempt", "kind", "state", "size_bytes")
    row = {name: SCHEMA_1[name] for name in names} | {"trial": 0}
    row |= {"score_pearson_validation": -0.1, "drop_pearson_validation": -0.2}
    write_row(row, tmp_path / "trials" / "0-0.parquet")
    rows = read_rows(tmp_path)
    assert rows["schema_version"].item() == 2
    assert len(candidates(rows)) == 1
    objectives = {"size_bytes": "minimize", "score_pearson_validation": "maximize"}
    assert quality_objective(objectives) == "score_pearson_validation"
    assert not loses_too_much(rows, rows, objectives)  # it is no share: points mean nothing


def test_a_sweep_is_judged_by_its_metric(rows: pd.DataFrame) -> None:
    score = {"size_bytes": "minimize", "score_macro_f1_validation": "maximize"}
    assert quality_objective(score) == "score_macro_f1_validation"
    assert reported("score_macro_f1_validation", rows) == "score_macro_f1_test"
    alone = candidates(rows[~rows["method"].eq("baseline")])
    for objectives in (score, MACRO):
        found = quality_drop(alone, alone, objectives)
        pd.testing.assert_series_equal(
            found, alone["drop_macro_f1_validation"].astype(float), check_names=False
        )
        points = figure_points(rows, objectives)
        models = candidates(rows)
        wide = [critical_value(groups) for groups in models["groups_test"].astype(float)]
        expected = 100 * np.array(wide) * models["drop_macro_f1_test_se"]
        np.testing.assert_allclose(points["y_bar"], expected.astype(float))


def test_a_metric_is_ordered_from_its_better_end(rows: pd.DataFrame) -> None:
    models = candidates(rows)
    names = {"score_macro_f1_test": False, "drop_macro_f1_test": True, "macro_f1_test": False}
    for name, ascending in (*names.items(), ("score_macro_f1_test_se", True)):
        found = sorted_by(models.reset_index(drop=True), models, name)[name].astype(float)
        assert found.is_monotonic_increasing if ascending else found.is_monotonic_decreasing
    assert len(matching(rows, "score_macro_f1_validation > 0.87")) > 0


def test_rows_of_schema_1_are_read_beside_those_of_schema_2(mixed: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a row that is skipped is warned of
        rows = read_rows(mixed)
    assert set(rows["schema_version"]) == {1, 2}
    old = rows[rows["schema_version"].eq(1)]
    assert list(old["accuracy_test"]) == [0.88, 0.88] and old["score_macro_f1_test"].isna().all()
    compact(mixed)
    pd.testing.assert_frame_equal(load_results(mixed), rows)
    assert len(final_attempts(rows)) == 15
    assert {12, 13} <= set(candidates(rows)["trial"])


@pytest.mark.parametrize("quality", ["accuracy_validation", "macro_f1_validation"])
def test_everything_is_said_of_a_run_of_schema_1(mixed: Path, quality: str) -> None:
    rows = read_rows(mixed)
    objectives = {quality: "maximize", "size_bytes": "minimize", "speedup_b1": "maximize"}
    had = [name for name in rows if not str(name).startswith(("score_", "drop_"))]
    for part in (rows, rows.loc[rows["schema_version"].eq(1), had]):
        found = summarize(part, objectives)
        assert found.trial == 12 and found.facts["Test accuracy"].startswith("88.0 %")
        assert 12 in set(front_table(part, objectives)["trial"])
        assert len(method_table(part, objectives)) > 0
        assert figure_points(part, objectives).set_index("trial").loc[12, "y_bar"] >= 0
        assert 12 in set(matching(part, f"{quality} > 0.85")["trial"])
