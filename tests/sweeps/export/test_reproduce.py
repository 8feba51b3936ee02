"""A trial run again: bit for bit where it must be, and what differs is explained in words."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from analysis.rows.table import load_results, write_row
from sweeps.cli.render_files import print_reproduction
from sweeps.definition.errors import ConfigError
from sweeps.export.artifacts import recipe_of, threads_of
from sweeps.export.choose import choose_number
from sweeps.export.reproduce import compare
from sweeps.run.directory import Run
from tests.sweeps.command import lmopt, lmopt_process

ROW: dict[str, Any] = {
    "trial": 7,
    "accuracy_test": 0.8800,
    "accuracy_test_se": 0.008,
    "accuracy_validation": 0.8900,
    "accuracy_validation_se": 0.010,
    "size_bytes": 5_000_000,
    "artifact_hash": "a" * 16,
    "teacher_key": "t" * 16,
    "processor": "one",
    "cores": "0,1",
    "git_commit": "c0ffee",
    "versions": json.dumps({"torch": "2.13", "openvino": "2026.4"}),
    "timing_noisy": False,
    "timed_alone": True,
    "recipe_json": "{}",
} | {f"speedup_{batch}{end}": value for batch in ("b1", "b32")
     for end, value in (("", 6.0), ("_low", 5.5), ("_high", 6.5))}  # fmt: skip


def again(**changes: Any) -> dict[str, Any]:
    """The same measured now, with two threads, but for the changes."""
    return ROW | {"training_threads": 2} | changes


def words(found: Any) -> str:
    return " ".join(found.explanation)


def test_the_same_is_said_to_be_the_same() -> None:
    found = compare(ROW, again(), from_scratch=False)
    assert found.reproduced and found.changed == []
    assert found.explanation == ["the artifact is the same bit for bit"]


def test_other_bits_with_the_same_numbers_reproduce() -> None:
    found = compare(ROW, again(artifact_hash="b" * 16), from_scratch=False)
    assert found.reproduced and "differ in some bits, but neither accuracy does" in words(found)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"accuracy_test": 0.8801}, "test accuracy"),
        ({"accuracy_validation": 0.8901}, "validation accuracy"),
        ({"size_bytes": 5_000_001}, "bytes"),
    ],
)
def test_under_the_same_conditions_every_difference_counts(
    change: dict[str, Any], wrong: str
) -> None:
    found = compare(ROW, again(artifact_hash="b" * 16, **change), from_scratch=True)
    assert not found.reproduced
    assert f"{wrong} must be the same, as seeds, processor type" in words(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"processor": "other"}, "processor: one then, other now"),
        ({"training_threads": 1}, "threads in training: 2 then, 1 now"),
        ({"git_commit": None}, "commit: c0ffee then, unknown now"),
        ({"teacher_key": "u" * 16}, "data or teacher (key)"),
        ({"versions": '{"torch": "2.14", "openvino": "2026.4"}'}, "torch: 2.13 then, 2.14 now"),
    ],
)
def test_under_other_conditions_the_interval_decides_and_they_are_named(
    change: dict[str, Any], said: str
) -> None:
    other = {"artifact_hash": "b" * 16, **change}
    within = compare(ROW, again(accuracy_test=0.880 - 0.0156, **other), from_scratch=False)
    assert within.reproduced and said in words(within) and "no more than" in words(within)
    beyond = compare(ROW, again(accuracy_test=0.880 - 0.0158, **other), from_scratch=False)
    assert not beyond.reproduced and said in words(beyond) and "by more than" in words(beyond)
    larger = compare(ROW, again(size_bytes=5_060_000, **other), from_scratch=False)
    assert not larger.reproduced


@pytest.mark.parametrize(
    ("row", "now", "why"),
    [
        ({}, {"processor": "other"}, "another processor has another ratio"),
        ({}, {"timing_noisy": True}, "timings scattered"),
        ({"timed_alone": False}, {}, "while other trials ran"),
        ({}, {}, "something else may run"),
    ],
)
def test_speed_is_explained_and_never_decides(
    row: dict[str, Any], now: dict[str, Any], why: str
) -> None:
    slow = {"speedup_b1": 3.0, "speedup_b1_low": 2.9, "speedup_b1_high": 3.1}
    found = compare(ROW | row, again(**slow, **now), from_scratch=False)
    assert found.reproduced and why in words(found) and "batch 1 lies" in words(found)
    assert "batch 32 lies" not in words(found)


def test_a_comparison_is_printed_in_eighty_columns() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        print_reproduction(compare(ROW, again(accuracy_test=0.5), from_scratch=False), console)
    text = capture.get()
    assert "DIFFERS" in text and "trial 7: NOT reproduced" in text
    assert "88.00 ± 0.80 %" in text  # one standard error, as in every other table


def test_numbers_for_scripts_are_numbers() -> None:
    found = json.loads(json.dumps(compare(ROW, again(), from_scratch=False).to_json()))
    by_name = {one.pop("name"): one for one in found["comparisons"]}
    accuracy, speed = by_name["test accuracy"], by_name["speed-up, batch 1"]
    assert (accuracy["recorded"], accuracy["recorded_se"], accuracy["now"]) == (0.88, 0.008, 0.88)
    assert (speed["recorded"], speed["recorded_interval"]) == (6.0, [5.5, 6.5])
    assert by_name["bytes"]["now"] == 5_000_000


def test_a_row_of_another_version_names_its_commit(run: Run) -> None:
    strange = ROW | {"recipe_json": json.dumps({"bits": 8, "warp": 9})}
    with pytest.raises(ConfigError, match=r"another version .*unknown key warp.*commit, c0ffee"):
        recipe_of(run, strange)


def test_the_trial_s_threads_are_taken_as_far_as_they_are_there() -> None:
    assert threads_of({"cores": "5"}) == threads_of({"cores": None}) == threads_of({}) == 1
    assert threads_of({"cores": ",".join(map(str, range(999)))}) == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_a_real_trial_reproduces_bit_for_bit_teacher_included(finished_run: Run) -> None:
    before = sorted(finished_run.path.iterdir())
    stages = sorted(finished_run.cache.glob("*/*"))
    done = lmopt_process("reproduce", finished_run.path, 5, "--from-scratch", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["reproduced"] and found["from_scratch"] and found["changed"] == []
    assert found["explanation"][0] == "the artifact is the same bit for bit"
    assert sorted(finished_run.path.iterdir()) == before  # The fresh cache is gone,
    assert sorted(finished_run.cache.glob("*/*")) == stages  # and the run's was left alone.


@pytest.mark.slow
def test_a_row_that_says_what_was_never_measured_does_not_reproduce(
    finished_run: Run, tmp_path: Path
) -> None:
    """A copy of the run whose row was made prettier."""
    copy = shutil.copytree(finished_run.path, tmp_path / "pretty", symlinks=True)
    path = copy / "trials" / "000005-00.parquet"
    (row,) = pq.read_table(path).to_pylist()
    write_row(row | {"accuracy_test": 1.0}, path)
    assert choose_number(load_results(copy), 5).row["accuracy_test"] == 1.0
    done = lmopt("reproduce", copy, 5)
    assert done.returncode == 1, done.stderr
    assert "test accuracy must be the same" in done.stdout and "NOT reproduced" in done.stdout
