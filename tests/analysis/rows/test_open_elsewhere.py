"""Results open as they are in DuckDB and polars, with the same numbers as here."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from analysis.rows.table import compact, load_results
from analysis.selection.fronts import front_rows

MakeRun = Callable[..., Path]


@pytest.fixture(name="results")
def _results(make_run: MakeRun) -> Path:
    return compact(make_run(40))


def test_duckdb_finds_the_same_front(results: Path, objectives: dict[str, str]) -> None:
    found = duckdb.sql(
        f"""
        WITH models AS (
          FROM read_parquet('{results}') WHERE state = 'COMPLETE' AND kind <> 'linear')
        SELECT trial FROM models AS a WHERE NOT EXISTS (
          SELECT 1 FROM models AS b
          WHERE b.accuracy_validation >= a.accuracy_validation AND b.size_bytes <= a.size_bytes
            AND b.speedup_b1 >= a.speedup_b1 AND b.trial <> a.trial)
        """
    ).fetchall()
    front = front_rows(load_results(results), objectives)
    assert sorted(trial for (trial,) in found) == sorted(front["trial"])


def test_polars_reads_lists_times_and_missing_numbers(results: Path) -> None:
    frame, rows = pl.read_parquet(results), load_results(results)
    assert frame.height == len(rows) and set(frame.columns) == set(rows)
    assert frame["size_bytes"].sum() == rows["size_bytes"].sum()
    assert frame["speedup_b1"].null_count() == rows["speedup_b1"].isna().sum() > 0
    assert frame["latency_b1_samples_ms"].list.len().max() == 40
    assert frame["started_utc"].dtype == pl.Datetime("us", "UTC")
    assert frame.filter(pl.col("state") == "FAIL")["accuracy_test"].is_null().all()
