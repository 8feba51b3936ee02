"""Rows are written whole or not at all, and read back as they were."""

import errno
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.rows.schema import COLUMNS, schema_markdown
from analysis.rows.table import compact, final_attempts, load_results, read_rows, write_row

ROW: dict[str, Any] = {
    "run": "r",
    "study": "r",
    "trial": 3,
    "attempt": 0,
    "kind": "search",
    "state": "COMPLETE",
    "accuracy_validation": 0.875,
    "size_bytes": 5_000_000,
}
FAILED = {key: ROW[key] for key in ("run", "study", "trial", "attempt", "kind")} | {
    "state": "FAIL",
    "error": "loss is not finite",
}


def test_a_row_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    started = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)
    row = ROW | {
        "param_bits": np.int64(4),
        "param_sparsity": 0.5,
        "param_device": "auto",
        "param_frozen": True,
        "param_layers": None,
        "seconds_distil": 50,
        "stages_cached": ["data", "teacher"],
        "latency_b1_samples_ms": np.array([1.5, 1.25]),
        "started_utc": started,
        "timed_alone": False,
    }
    write_row(row, tmp_path / "trials" / "3-0.parquet")
    for frame in (read_rows(tmp_path), pd.read_parquet(tmp_path / "trials" / "3-0.parquet")):
        got = frame.iloc[0]
        for name in ("trial", "param_bits", "param_sparsity", "param_device", "seconds_distil"):
            assert got[name] == row[name], name
        assert bool(got["param_frozen"]) is True
        assert bool(got["timed_alone"]) is False
        assert list(got["latency_b1_samples_ms"]) == [1.5, 1.25]
        assert list(got["stages_cached"]) == ["data", "teacher"]
        assert got["started_utc"] == pd.Timestamp(started)
        assert pd.isna(got["accuracy_test"])
        assert "param_layers" not in frame


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acuracy_test": 0.9}, "did you mean 'accuracy_test'"),
        ({"acuracy_test": None}, "did you mean 'accuracy_test'"),
        ({"accuracy_test": 87.5}, r"share in \[0, 1\], got 87.5"),
        ({"accuracy_test": float("nan")}, "must be finite"),
        ({"accuracy_validation": None}, "COMPLETE row must have accuracy_validation"),
        ({"accuracy_validation": float("nan")}, "must be finite"),
        ({"speedup_b1": float("inf")}, "must be finite"),
        ({"latency_b1_samples_ms": [1.0, float("nan")]}, "must be finite"),
        ({"latency_b1_samples_ms": ["1.0"]}, "must be double"),
        ({"size_bytes": 1.5}, "must be int64, got 1.5"),
        ({"size_bytes": True}, "must be int64, got True"),
        ({"threads": "1"}, "must be int64, got '1'"),
        ({"timed_alone": 1}, "must be bool, got 1"),
        ({"started_utc": datetime(2026, 1, 1)}, "must carry a time zone"),
        ({"param_bits": [4]}, "must be bool, int, float or str"),
        ({"state": "DONE"}, "state must be one of"),
        ({"kind": "other"}, "kind must be one of"),
        ({"kind": "reference"}, "must have method"),
        ({"kind": "linear", "method": "linear"}, "trial must be null"),
        ({"trial": None}, "trial must be null"),
        ({"run": None}, "must have run"),
        ({"state": "FAIL"}, "FAIL row must have error"),
        ({"state": "FAIL", "error": "x"}, "must be empty in a row of state FAIL"),
        ({"state": "LOST"}, "must be empty in a row of state LOST"),
        ({"state": "PRUNED"}, "accuracy_validation must be empty in a row of state PRUNED"),
    ],
)
def test_a_row_that_breaks_the_schema_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        write_row(ROW | change, tmp_path / "trials" / "3-0.parquet")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trials").exists()


def test_a_failed_row_holds_its_reason_in_one_line_and_no_number(tmp_path: Path) -> None:
    write_row(FAILED | {"error": "loss is\n not finite"}, tmp_path / "trials" / "3-0.parquet")
    row = read_rows(tmp_path).iloc[0]
    assert row["error"] == "loss is not finite"
    measured = [c.name for c in COLUMNS if c.group in ("quality", "size", "speed")]
    assert row[measured].isna().all()


def test_attempts_are_sorted_and_the_linear_model_has_no_trial(
    make_run: Callable[..., Path],
) -> None:
    run = make_run(12)
    write_row(FAILED | {"trial": 2, "attempt": 1}, run / "trials" / "2-1.parquet")
    rows = read_rows(run)
    assert rows["trial"].isna().sum() == 1
    keys = list(rows.loc[rows["trial"].notna(), ["trial", "attempt"]].itertuples(index=False))
    assert keys == sorted(keys)
    assert str(rows["trial"].dtype) == "Int64"


def test_the_final_attempt_is_the_last_and_a_completed_one_stays(tmp_path: Path) -> None:
    other = {"trial": 4, "attempt": 1}
    for index, row in enumerate(
        [ROW, FAILED | {"attempt": 1}, FAILED | {"trial": 4}, FAILED | other | {"error": "later"}]
    ):
        write_row(row, tmp_path / "trials" / f"{index}.parquet")
    final = final_attempts(read_rows(tmp_path)).set_index("trial")
    assert list(final.index) == [3, 4]
    assert final.loc[3, "state"] == "COMPLETE"
    assert final.loc[4, "error"] == "later"


def test_a_remeasured_row_overrides_only_its_columns(tmp_path: Path) -> None:
    write_row(ROW | {"speedup_b1": 3.0, "timed_alone": False}, tmp_path / "trials" / "3-0.parquet")
    write_row(ROW | {"trial": 4, "speedup_b1": 5.0}, tmp_path / "trials" / "4-0.parquet")
    again = {"trial": 3, "attempt": 0, "speedup_b1": 4.0, "timed_alone": True}
    write_row(
        again | {"seconds_remeasure": 9.0}, tmp_path / "remeasure" / "3-0.parquet", partial=True
    )
    write_row(again | {"trial": 9}, tmp_path / "remeasure" / "9-0.parquet", partial=True)
    rows = read_rows(tmp_path).set_index("trial")
    assert list(rows.index) == [3, 4]
    assert rows.loc[3, "speedup_b1"] == 4.0
    assert bool(rows.loc[3, "timed_alone"])
    assert rows.loc[3, "accuracy_validation"] == 0.875
    assert rows.loc[3, "seconds_remeasure"] == 9.0
    assert rows.loc[4, "speedup_b1"] == 5.0
    with pytest.raises(ValueError, match="must have attempt"):
        write_row({"trial": 3}, tmp_path / "remeasure" / "x.parquet", partial=True)


def test_a_torn_or_foreign_file_is_skipped_and_named(tmp_path: Path) -> None:
    whole = tmp_path / "trials" / "3-0.parquet"
    write_row(ROW, whole)
    (tmp_path / "trials" / "4-0.parquet").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "trials" / "5-0.parquet").write_bytes(b"")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "trials" / "6-0.parquet")
    pq.write_table(pa.table({"trial": ["x"], "attempt": [0]}), tmp_path / "trials" / "7-0.parquet")
    (tmp_path / "trials" / ".8-0.parquet.1-ab.tmp").write_bytes(b"half")
    with pytest.warns(UserWarning, match="not a result row") as caught:
        rows = read_rows(tmp_path)
    assert list(rows["trial"]) == [3]
    named = " ".join(str(warning.message) for warning in caught)
    assert all(f"{number}-0.parquet" in named for number in (4, 5, 6, 7))
    assert "8-0" not in named


def test_rows_of_a_newer_schema_are_never_skipped_silently(tmp_path: Path) -> None:
    path = tmp_path / "trials" / "3-0.parquet"
    write_row(ROW, path)
    newer = pq.read_table(path)
    newer = newer.set_column(0, "schema_version", pa.array([99], pa.int64()))
    pq.write_table(newer, path)
    with pytest.raises(ValueError, match="update lmopt"):
        read_rows(tmp_path)


def test_parameters_of_mixed_types_become_text_and_numbers_stay_numbers(tmp_path: Path) -> None:
    for trial, (device, sparsity) in enumerate([("auto", 0), (2, 0.5), (True, 0.25)]):
        row = ROW | {"trial": trial, "param_device": device, "param_sparsity": sparsity}
        write_row(row, tmp_path / "trials" / f"{trial}-0.parquet")
    rows = read_rows(tmp_path)
    assert list(rows["param_device"]) == ["auto", "2", "true"]
    assert list(rows["param_sparsity"]) == [0, 0.5, 0.25]


def test_compacted_rows_equal_the_rows(make_run: Callable[..., Path]) -> None:
    run = make_run(24)
    rows = read_rows(run)
    path = compact(run)
    assert path == run / "results.parquet"
    pd.testing.assert_frame_equal(load_results(path), rows)
    pd.testing.assert_frame_equal(pd.read_parquet(path), rows)
    assert pd.read_parquet(run / "trials").shape[0] == len(rows)


def test_compacted_rows_are_used_while_no_row_is_newer(make_run: Callable[..., Path]) -> None:
    run = make_run(6)
    compact(run)
    (run / "trials" / "3-0.parquet").touch()
    assert len(load_results(run)) == 7  # 6 trials and the linear model
    write_row(ROW | {"trial": 50}, run / "trials" / "50-0.parquet")
    assert 50 in set(load_results(run)["trial"])
    compact(run)
    again = {"trial": 50, "attempt": 0, "speedup_b1": 4.0}
    write_row(again, run / "remeasure" / "50-0.parquet", partial=True)
    assert load_results(run).set_index("trial").loc[50, "speedup_b1"] == 4.0
    compact(run)
    for path in (run / "trials").iterdir():
        path.unlink()
    (run / "trials").rmdir()
    assert len(load_results(run)) == 8  # results.parquet alone, taken home


def test_a_row_that_comes_while_the_rows_are_compacted_is_not_lost(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(6)

    def read_then_write(run_dir: Path) -> pd.DataFrame:
        rows = read_rows(run_dir)
        write_row(ROW | {"trial": 50}, run / "trials" / "50-0.parquet")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr("analysis.rows.table.read_rows", read_then_write)
        compact(run)
    assert 50 in set(load_results(run)["trial"])


def test_no_rows_yet_is_an_empty_table_and_no_run_is_an_error(tmp_path: Path) -> None:
    rows = read_rows(tmp_path)
    assert rows.empty
    assert [c.name for c in COLUMNS] == list(rows)
    compact(tmp_path)
    assert load_results(tmp_path / "results.parquet").empty
    with pytest.raises(ValueError, match="no run directory"):
        read_rows(tmp_path / "none")
    with pytest.raises(ValueError, match="no results at"):
        load_results(tmp_path / "none.parquet")


@pytest.fixture(name="full_disk")
def _full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 kB, where this may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system; the next test needs no root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_row_and_no_temporary(full_disk: Path) -> None:
    path = full_disk / "3-0.parquet"
    write_row(ROW, path)
    before = path.read_bytes()
    samples = list(np.random.default_rng(0).random(20_000))
    with pytest.raises(OSError) as caught:
        write_row(ROW | {"latency_b1_samples_ms": samples}, path)
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in full_disk.iterdir()] == ["3-0.parquet"]
    assert path.read_bytes() == before


def test_a_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path; from analysis.rows.table import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        f"row = {ROW!r};\n"
        "try: write_row(row, Path(sys.argv[1]))\n"
        "except OSError as error: print(error.errno)"
    )
    path = tmp_path / "trials" / "3-0.parquet"
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == errno.EFBIG
    assert list(path.parent.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096  # the limit was the child's


def test_a_writer_killed_at_any_moment_leaves_a_whole_row_or_none(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from analysis.rows.table import *;"
        f"row = {ROW!r};\n"
        "print('ready', flush=True)\n"
        "for number in range(100_000): write_row(row | {'trial': number},"
        " Path(sys.argv[1]) / f'{number}-0.parquet')"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "trials")], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    while len(list((tmp_path / "trials").glob("*.parquet"))) < 20:
        assert writer.poll() is None
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a torn row would be skipped with a warning
        rows = read_rows(tmp_path)
    assert len(rows) == len(list((tmp_path / "trials").glob("*.parquet"))) >= 20


def test_many_rows_load_whole(tmp_path: Path) -> None:
    write_row(ROW, tmp_path / "trials" / "0-0.parquet")
    table = pq.read_table(tmp_path / "trials" / "0-0.parquet")
    many = pa.concat_tables([table] * 10_000)
    many = many.set_column(
        many.schema.get_field_index("trial"), "trial", pa.array(range(10_000), pa.int64())
    )
    pq.write_table(many, tmp_path / "results.parquet")
    rows = final_attempts(load_results(tmp_path / "results.parquet"))
    assert sorted(rows["trial"]) == list(range(10_000))


def test_the_documented_schema_is_the_schema() -> None:
    page = Path(__file__).parents[3] / "docs" / "results-schema.md"
    assert page.read_text(encoding="utf-8") == schema_markdown()
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.description for column in COLUMNS)


def test_the_light_modules_import_no_plotting() -> None:
    heavy = "'matplotlib' in sys.modules, 'seaborn' in sys.modules"
    script = f"import sys, analysis.rows.table; print({heavy})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_torn_table_is_named_or_made_again_from_the_rows(make_run: Callable[..., Path]) -> None:
    run = make_run()
    table = compact(run)
    whole = table.read_bytes()
    table.write_bytes(whole[:-400] + bytes(392) + whole[-8:])  # its footer is damaged
    assert len(load_results(run)) == len(read_rows(run)) > 0
    table.write_bytes(whole[:200])
    assert len(load_results(run)) == len(read_rows(run)) > 0
    with pytest.raises(ValueError, match=r"results\.parquet is no whole Parquet file"):
        load_results(table)
