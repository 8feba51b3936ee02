"""Runs side by side: one reference point, one front a processor type, nothing mixed silently."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures.fronts import fronts_figure
from analysis.rows.table import read_rows
from analysis.selection.fronts import front_rows
from analysis.selection.hypervolume import hypervolume_of, scaled_costs
from analysis.selection.objectives import candidates
from analysis.selection.processors import main_processor
from analysis.selection.runs import front_parts, load_runs, processor_note, why_not_comparable
from analysis.statistics.pareto import hypervolume
from analysis.tables.comparison import compare_runs, dominators
from tests.analysis.conftest import example_rows, write_run

MakeRows = Callable[..., pd.DataFrame]
Runs = dict[str, pd.DataFrame]


@pytest.fixture(name="runs")
def _runs(tmp_path: Path) -> Runs:
    """Two runs of one task with different seeds of the sampler."""
    folders = {name: tmp_path / name for name in ("tpe", "random")}
    return {
        name: read_rows(write_run(folder, example_rows(40, seed=seed)))
        for seed, (name, folder) in enumerate(folders.items())
    }


def on_two_processors(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as if every third searched trial had been timed on a slower machine, alone."""
    other = rows["kind"].eq("search") & (rows["trial"].fillna(0) % 3 == 0)
    processor = rows["processor"].mask(other.astype(bool), "a slower one")
    return rows.assign(processor=processor, timed_alone=True)


def test_a_point_is_behind_what_is_at_least_as_good_in_all_and_surely_better_in_one(
    runs: Runs, objectives: dict[str, str]
) -> None:
    found = compare_runs(runs, objectives)
    assert found.warning is None and found.judged_on == list(objectives)
    for name, other in (("tpe", "random"), ("random", "tpe")):
        theirs = front_rows(runs[other], objectives)
        front = front_rows(runs[name], objectives)
        for point, by in zip(front.itertuples(), found.fronts[name]["dominated_by"], strict=True):
            ahead = theirs[
                (theirs["accuracy_validation"] >= point.accuracy_validation)
                & (theirs["size_bytes"] <= point.size_bytes)
                & (theirs["speedup_b1"] >= point.speedup_b1)
            ]
            surely = ahead[
                (ahead["accuracy_validation"] > point.accuracy_validation)
                | (ahead["size_bytes"] < point.size_bytes)
                | (ahead["speedup_b1_low"] > point.speedup_b1_high)
            ]
            better = surely["trial"].isin([by]).any()
            assert better if pd.notna(by) else surely.empty
        assert found.hypervolumes[name] == hypervolume_of(runs[name], objectives)


def test_the_noise_of_a_timing_puts_nothing_behind() -> None:
    objectives = {"size_bytes": "minimize", "speedup_b1": "maximize"}
    point = {"trial": 1, "size_bytes": 10, "speedup_b1": 5.0, "speedup_b1_low": 4.6}
    point |= {"speedup_b1_high": 5.4, "artifact_hash": "a"}
    noise = point | {"trial": 2, "speedup_b1": 5.2, "speedup_b1_low": 4.9, "artifact_hash": "b"}
    faster = noise | {"trial": 3, "speedup_b1_low": 5.41, "speedup_b1_high": 5.9, "speedup_b1": 5.6}
    smaller = noise | {"trial": 4, "size_bytes": 9}
    equal = faster | {"trial": 5, "artifact_hash": "a"}
    cases = [(noise, None), (faster, 3), (smaller, 4), (equal, None)]
    for other, by in cases:
        (found,) = dominators(pd.DataFrame([point]), pd.DataFrame([other]), objectives)
        assert by is None if pd.isna(found) else found == by


def test_a_run_does_not_dominate_itself(runs: Runs, objectives: dict[str, str]) -> None:
    found = compare_runs({"a": runs["tpe"], "b": runs["tpe"]}, objectives)
    assert all(front["dominated_by"].isna().all() for front in found.fronts.values())
    assert found.hypervolumes["a"] == found.hypervolumes["b"] > 0


def test_the_volume_is_of_shares_of_the_baseline(runs: Runs, objectives: dict[str, str]) -> None:
    rows = runs["tpe"]
    models = candidates(rows)
    baseline = models[models["method"].eq("baseline").fillna(False)].iloc[0]
    costs = np.column_stack(
        [
            1 - models["accuracy_validation"].astype(float),
            models["size_bytes"].astype(float) / baseline["size_bytes"],
            1 / models["speedup_b1"].astype(float),
        ]
    )
    np.testing.assert_allclose(scaled_costs(models, rows, objectives), costs, rtol=1e-6)
    expected = hypervolume(costs, ["minimize"] * 3, np.ones(3))
    assert hypervolume_of(rows, objectives) == pytest.approx(expected, rel=1e-6)
    assert 0 < expected < 1


def test_two_processor_types_have_a_front_each_and_a_warning(
    runs: Runs, objectives: dict[str, str]
) -> None:
    rows = on_two_processors(runs["tpe"])
    parts = front_parts({"tpe": rows}, objectives)
    assert list(parts) == ["a processor", "a slower one"]
    for label, part in parts.items():
        front = front_rows(part, objectives)
        assert set(front["processor"]) == {label}
        assert set(main_processor(part, objectives)["trial"].dropna()) == set(
            part["trial"].dropna()
        )
    note = processor_note({"tpe": rows}, objectives)
    assert note is not None and "Timed on 2 processor types" in note and "\n" not in note
    untimed = {"accuracy_validation": "maximize", "size_bytes": "minimize"}
    assert list(front_parts({"tpe": rows}, untimed)) == ["tpe"]
    assert processor_note({"tpe": rows}, untimed) is None
    assert processor_note(runs, objectives) is None


def test_what_was_timed_elsewhere_in_passing_is_on_no_front_and_that_is_said(
    runs: Runs, objectives: dict[str, str]
) -> None:
    rows = on_two_processors(runs["tpe"])
    rows["timed_alone"] = rows["processor"].ne("a slower one")
    (part,) = front_parts({"tpe": rows}, objectives).values()
    assert set(part["processor"].dropna()) == {"a processor"}
    count = (candidates(rows)["processor"] == "a slower one").sum()
    note = processor_note({"tpe": rows}, objectives)
    assert note is not None
    assert f"{count} models timed on a slower one only, in passing: on no front" in note


def test_speed_ups_on_different_processors_judge_nothing(
    runs: Runs, objectives: dict[str, str]
) -> None:
    runs["random"]["processor"] = runs["random"]["processor"].replace("a processor", "another")
    found = compare_runs(runs, objectives)
    assert found.judged_on == ["accuracy_validation", "size_bytes"]
    assert found.warning is not None
    assert "judged on accuracy_validation, size_bytes alone" in found.warning
    note = " ".join(" ".join(t.get_text() for t in fronts_figure(runs, objectives).texts).split())
    assert "Speed-ups on different processor types do not compare" in note


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("teacher_key", "another", "the fine-tuned teacher"),
        ("examples_test", 12, "the test split"),
        ("runtime", "onnxruntime", "the runtime"),
        ("threads", 2, "the threads"),
        ("pad_to_multiple_of", 0, "the lengths"),
        ("pad_to_multiple_of", pd.NA, "the lengths"),  # Rows of before it was a column.
    ],
)
def test_numbers_of_different_things_are_refused_in_one_line(
    runs: Runs, objectives: dict[str, str], column: str, value: object, said: str
) -> None:
    assert why_not_comparable(runs) is None
    changed = runs["random"][column].where(runs["random"]["state"].ne("COMPLETE"), value)
    runs["random"][column] = changed
    with pytest.raises(ValueError, match="do not compare") as error:
        compare_runs(runs, objectives)
    assert said in str(error.value) and column in str(error.value)
    assert "\n" not in str(error.value)


def test_runs_are_named_by_as_much_of_their_path_as_it_takes(tmp_path: Path) -> None:
    rows = example_rows(2)
    for name in ("a/bbc", "b/bbc", "other"):
        write_run(tmp_path / name, rows)
    assert list(load_runs([tmp_path / "a/bbc", tmp_path / "other"])) == ["bbc", "other"]
    assert list(load_runs([tmp_path / "a/bbc", tmp_path / "b/bbc"])) == ["a/bbc", "b/bbc"]
    with pytest.raises(ValueError, match="is given twice; name each run once"):
        load_runs([tmp_path / "other", tmp_path / "b" / ".." / "other"])
    for nothing in ([], [""]):
        with pytest.raises(ValueError, match="no run given"):
            load_runs(nothing)
    with pytest.raises(ValueError, match="nowhere"):
        load_runs([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="two runs, got 1; lmopt report takes more"):
        compare_runs({"only": read_rows(tmp_path / "other")}, {"size_bytes": "minimize"})


def test_fronts_are_overlaid_with_their_volumes(runs: Runs, objectives: dict[str, str]) -> None:
    figure = fronts_figure(runs, objectives)
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    for name, text in zip(runs, said, strict=False):
        assert text == f"{name} (HV {hypervolume_of(runs[name], objectives):.3f})"
    assert said[-1] == "linear model (TF-IDF)"
    lines = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert len(lines) == 2 and len({str(line.get_linestyle()) for line in lines}) == 2
    for ax in figure.axes:
        front = front_rows(runs["tpe"], objectives)
        drawn = [np.array(line.get_xydata()) for line in ax.lines]
        assert any(len(points) == len(front) for points in drawn)
    with pytest.raises(ValueError, match="fronts need rows and two objectives"):
        fronts_figure({}, objectives)
