"""The front timed alone: on which processor, how many at once, and without what cannot be made."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.rows.table import load_results, read_rows, write_row
from analysis.selection.fronts import front_rows
from analysis.selection.processors import processors, timed_on
from analysis.tables.methods_and_front import front_table
from lmopt import environment
from lmopt.pipeline import timing as pipeline
from lmopt.runtimes import base as runtime
from sweeps.export import artifacts as remake
from sweeps.export.reproduce import changed_conditions
from sweeps.jobs import front_timing as front
from sweeps.run import prepared as start
from sweeps.run.directory import Run
from tests.analysis.conftest import OBJECTIVES, Row, example_rows, write_run
from tests.sweeps.small_run import make_job

SLOW = {"baseline": [6.0, 6.1], "baseline16": [3.0, 3.1], "trial": [1.0, 1.1]}
Groups = list[list[int]]


@pytest.fixture
def time_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Groups]:
    """Write rows, time their front with a clock that costs nothing; return what it timed."""
    groups: Groups = []

    def time_artifacts(_: Any, made: Sequence[int], **__: Any) -> Any:
        groups.append(list(made))
        return [{"b1": SLOW, "b32": SLOW} for _ in made], False

    def timed(rows: list[Row], *, broken: Sequence[int] = ()) -> Groups:
        def artifact_of(_: Run, __: Any, values: Row) -> int:
            if values["trial"] in broken:
                raise ValueError("made by another version of lmopt")
            return int(values["trial"])

        for row in rows:
            name = "linear" if row["kind"] == "linear" else ""
            path = run.rows / f"{name}.parquet" if name else run.row_path(row["trial"], 0)
            write_row(row, path)
        monkeypatch.setattr(remake, "artifact_of", artifact_of)
        front.time_front(run, make_job(run))
        return groups

    prepared = SimpleNamespace(runtime=SimpleNamespace(name="openvino", device="auto"))
    monkeypatch.setattr(start, "load_prepared", lambda *_: prepared)
    monkeypatch.setattr(pipeline, "time_artifacts", time_artifacts)
    for module in (environment, runtime):
        monkeypatch.setattr(module, "processor_name", lambda: "the target")
    return timed


def test_timing_elsewhere_leaves_the_processor_of_the_accuracy(
    run: Run, time_all: Callable[..., Groups]
) -> None:
    time_all(example_rows(24))
    assert front.untimed(run).empty
    rows = load_results(run.path)
    again = rows[rows["processor_timed"].notna()]
    assert len(again) and set(again["processor_timed"]) == {"the target"}
    assert set(rows["processor"].dropna()) == {"a processor"}
    assert set(processors(rows)) == {"a processor", "the target"}  # the references were timed
    row = {**again.iloc[0], "git_commit": None, "versions": None, "cores": None}
    assert changed_conditions(row, row | {"training_threads": 1}) == []


def test_fronts_are_parted_by_where_models_were_timed(tmp_path: Path) -> None:
    run = write_run(tmp_path, example_rows(24))
    best = front_rows(read_rows(run), OBJECTIVES)["trial"].iloc[0]
    overlay = {"trial": int(best), "attempt": 0, "processor_timed": "the target"}
    write_row(overlay, run / "remeasure" / "1.parquet", partial=True)
    rows = read_rows(run)
    there = rows[rows["trial"].eq(best)]
    assert list(there["processor"]) == ["a processor"] and list(timed_on(there)) == ["the target"]
    rows["timed_alone"] = True
    table = front_table(rows, OBJECTIVES)
    assert table.loc[table["processor"].eq("the target"), "trial"].tolist() == [best]


def test_an_overlay_of_an_older_version_is_read_as_where_it_was_timed(tmp_path: Path) -> None:
    run = write_run(tmp_path, example_rows(4))
    overlay = {"trial": 1, "attempt": 0, "processor": "the target", "timed_alone": True}
    write_row(overlay, run / "remeasure" / "1.parquet", partial=True)
    row = read_rows(run).set_index("trial").loc[1]
    assert (row["processor"], row["processor_timed"]) == ("a processor", "the target")
    assert list(timed_on(read_rows(run).drop(columns="processor_timed"))) == ["a processor"] * 5


@pytest.mark.parametrize(
    ("sizes_mb", "count"),
    [([1] * 20, 8), ([90, 90, 90], 2), ([900, 1], 1), ([100, 100, 1], 2), ([1], 1)],
)
def test_a_group_is_bounded_by_number_and_bytes(sizes_mb: list[int], count: int) -> None:
    wanted = pd.DataFrame({"size_bytes": [size * 1_000_000 for size in sizes_mb]}, dtype="Int64")
    assert len(front.first_group(wanted)) == count


def test_what_cannot_be_made_keeps_nobody_else_from_being_timed(
    run: Run, time_all: Callable[..., Groups], caplog: pytest.LogCaptureFixture
) -> None:
    rows = example_rows(24)
    references = {row["trial"] for row in rows if row["kind"] == "reference"}
    for row in rows:
        if row["state"] == "COMPLETE":
            row["timed_alone"] = False
    groups = time_all(rows, broken=[0])
    left = front.untimed(run)
    assert set(left["trial"]) == {0} and all(0 not in group for group in groups)
    assert references - {0} <= {trial for group in groups for trial in group}
    assert "trial 0 is not timed alone" in caplog.text
