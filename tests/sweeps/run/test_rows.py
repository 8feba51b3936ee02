"""What a row says of quality: the numbers of before, macro-F1's errors, and metrics of any task."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from analysis.rows.metrics import METRICS
from analysis.rows.schema import row_table
from analysis.rows.table import read_rows, write_row
from analysis.statistics.uncertainty import clustered_mean, paired_difference
from lmopt.data.dataset import Data, Split
from lmopt.methods.recipe import Recipe
from lmopt.tasks.base import Baseline, Metric
from lmopt.tasks.registry import TASKS, task_of
from sweeps.jobs import prepare as prepare_job
from sweeps.jobs import worker
from sweeps.run.directory import Run
from sweeps.run.rows import measured, quality, quality_drop
from tests.sweeps.small_run import fake_outcome, fake_prepared, make_job

Array = NDArray[Any]
CLASSIFICATION = task_of("classification")
IDENTITY = {
    "run": "r", "study": "r", "trial": 0, "attempt": 0, "kind": "search", "state": "COMPLETE",
    "size_bytes": 10,
}  # fmt: skip


def data_of(n: int, classes: int, seed: int) -> tuple[Data, Array, Array]:
    """A split "test" with documents, and the logits of a teacher and of a student that is near."""
    random = np.random.default_rng(seed)
    labels, groups = random.integers(0, classes, n), random.integers(0, n // 5 + 2, n)
    teacher = random.normal(size=(n, classes)).astype(np.float32)
    teacher[np.arange(n), labels] += 2
    student = teacher + random.normal(0, 0.8, teacher.shape).astype(np.float32)
    return Data(["x"] * classes, {"test": Split([], labels, groups)}, "key"), teacher, student


@pytest.mark.parametrize(("n", "classes"), [(37, 2), (400, 5), (9001, 20)])
def test_accuracy_and_macro_f1_have_the_numbers_of_before_to_the_bit(n: int, classes: int) -> None:
    data, teacher, student = data_of(n, classes, n)
    split = data.splits["test"]
    said, reference = (x.argmax(axis=1) for x in (student, teacher))
    right, right_before = ((x == split.labels).astype(float) for x in (said, reference))
    row = quality(CLASSIFICATION, data, "test", student)
    assert (row["accuracy_test"], row["accuracy_test_se"]) == clustered_mean(right, split.groups)
    assert row["macro_f1_test"] == float(f1_score(split.labels, said, average="macro"))
    assert row["score_macro_f1_test"] == row["macro_f1_test"]
    assert (row["examples_test"], row["groups_test"]) == (n, len(set(split.groups)))
    drop = quality_drop(CLASSIFICATION, data, "test", student, teacher)
    assert (drop["accuracy_drop_test"], drop["accuracy_drop_test_se"]) == paired_difference(
        right_before, right, split.groups
    )


def test_macro_f1_has_its_drop_in_pairs_with_an_error() -> None:
    data, teacher, student = data_of(4000, 4, 0)
    labels = data.splits["test"].labels
    before, after = (f1_score(labels, x.argmax(1), average="macro") for x in (teacher, student))
    drop = quality_drop(CLASSIFICATION, data, "test", student, teacher)
    assert drop["drop_macro_f1_test"] == pytest.approx(before - after, abs=1e-14)
    # Balanced classes: macro-F1 moves as accuracy does, and so does its error.
    assert drop["drop_macro_f1_test_se"] == pytest.approx(drop["accuracy_drop_test_se"], rel=0.1)
    same = quality_drop(CLASSIFICATION, data, "test", teacher, teacher)
    assert set(same.values()) == {0.0}


class Distances:
    """A task as somebody may add it: one number is predicted; RMSE, where less is better."""

    kind = "distances"
    metrics = (
        Metric("rmse", "RMSE", "", "minimize", lambda sums, count: np.sqrt(sums[0] / count)),
    )

    def statistics(self, outputs: Array, truth: Split) -> Array:
        return (outputs[:, :1] - truth.labels[:, None]) ** 2


def test_a_row_of_another_task_needs_no_accuracy_and_positive_is_worse() -> None:
    random = np.random.default_rng(0)
    truth, groups = random.normal(size=500), np.arange(500) // 5
    data = Data([], {"validation": Split([], truth, groups)}, "key")  # type: ignore[arg-type]
    good, bad = (truth[:, None] + random.normal(0, s, (500, 1)) for s in (0.5, 1.0))
    task: Any = Distances()
    row = quality(task, data, "validation", bad) | quality_drop(task, data, "validation", bad, good)
    assert row["score_rmse_validation"] == pytest.approx(np.sqrt(((bad[:, 0] - truth) ** 2).mean()))
    # Of a normal error's standard deviation: sigma / sqrt(2 n).
    assert row["score_rmse_validation_se"] == pytest.approx(1 / np.sqrt(1000), rel=0.1)
    assert row["drop_rmse_validation"] == pytest.approx(0.5, abs=0.1)
    assert not any("accuracy" in name for name in row)
    table = row_table(IDENTITY | row)
    assert table["score_rmse_validation"][0].as_py() == row["score_rmse_validation"]


def test_a_split_of_one_document_has_numbers_without_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was "must be finite, got nan", and no trial of the sweep could start."""
    prepared = fake_prepared()
    one = {
        name: part._replace(groups=part.groups * 0) for name, part in prepared.data.splits.items()
    }
    prepared.data = Data(["a", "b", "c", "d"], one, "data")
    linear = Baseline(prepared.baseline_logits, 10, 1.0)
    with caplog.at_level(logging.WARNING, logger="lmopt"):
        prepare_job.write_linear_row(run, prepared.data, linear)
        prepare_job.write_linear_row(run, prepared.data, linear, prepared)
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(" (")[0] for text in said] == [
        "the validation split is one document",
        "the test split is one document",
    ]
    row = measured(prepared, fake_outcome(Recipe(bits=2), run.path))
    write_row(IDENTITY | {"trial": 0, **row}, run.row_path(0, 0))
    rows = read_rows(run.path)
    assert len(rows) == 2 and (rows["groups_test"] == 1).all()
    errors = [name for name in rows if name.endswith("_se")]
    assert len(errors) >= 4 and rows[errors].isna().all().all()
    assert rows["accuracy_test"].notna().all() and rows["accuracy_drop_test"].notna().all()


def test_a_trial_whose_outputs_are_no_numbers_fails_and_says_where(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count as right for the first class, with a divergence of zero from the teacher."""

    def run_recipe(prepared: Any, recipe: Recipe, *, cache: Path, **_: Any) -> Any:
        outcome = fake_outcome(recipe, cache)
        if recipe.bits == 8:  # the reference point of quantization for one
            outcome.logits["test"][:3] = np.nan
            outcome.logits["validation"][7, 1] = np.inf
        return outcome

    job = make_job(run)
    monkeypatch.setattr(worker, "this_job", lambda: job)
    monkeypatch.setattr(worker, "load_prepared", lambda *_: fake_prepared())
    monkeypatch.setattr(worker, "run_recipe", run_recipe)
    worker.work(str(run.path), 0, run.profile.job("worker"))
    rows = read_rows(run.path)
    bad = rows["recipe_json"].map(lambda text: json.loads(text)["bits"] == 8)
    assert 0 < bad.sum() < len(rows)
    assert rows["state"].where(bad, "COMPLETE").eq(bad.map({True: "FAIL", False: "COMPLETE"})).all()
    for error in rows.loc[bad, "error"]:
        assert "1 of 40 texts of the validation split and 3 of 80 texts of the test split" in error
    assert rows.loc[bad, ["accuracy_test", "kl_test", "score_macro_f1_test"]].isna().all().all()


def test_analysis_shows_every_metric_as_its_task_says() -> None:
    for task in TASKS:
        for metric in task.metrics:
            said = (metric.label, metric.unit, metric.direction)
            assert METRICS[metric.name] == said, "add it to analysis.rows.metrics.METRICS"
