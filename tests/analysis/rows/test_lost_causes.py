"""The code of why an attempt was lost, and the rows from before there was one."""

from pathlib import Path
from typing import Any

import pytest

from analysis.rows.lost_causes import LOST_CAUSES, lost_cause
from analysis.rows.table import read_rows, write_row

LOST: dict[str, Any] = {
    "run": "r", "study": "r", "trial": 3, "attempt": 0, "kind": "search", "state": "LOST",
}  # fmt: skip


def test_a_row_says_why_it_was_lost(tmp_path: Path) -> None:
    for attempt, code in enumerate(code for code in LOST_CAUSES if code != "given_up"):
        row = LOST | {"attempt": attempt, "lost_cause": code, "error": "in any words"}
        write_row(row, tmp_path / "trials" / f"3-{attempt}.parquet")
    rows = read_rows(tmp_path)
    assert list(rows["lost_cause"]) == [code for code in LOST_CAUSES if code != "given_up"]
    assert [lost_cause(row) for row in rows.to_dict("records")] == list(rows["lost_cause"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("out of memory: job 11 is gone", "out_of_memory"),
        ("node fail: job unknown is gone", "node_fail"),
        ("timeout: job 7_1 is gone", "timeout"),
        ("lost: job 7_1 is gone", "lost"),
        ("something that nobody wrote", "lost"),
        (None, "lost"),
    ],
)
def test_a_row_of_schema_1_says_it_in_words(error: str | None, code: str) -> None:
    assert lost_cause({"state": "LOST", "error": error}) == code


def test_a_row_that_was_not_lost_has_no_cause() -> None:
    error = "out of memory: a ValueError of a user, as it happens"
    assert lost_cause({"state": "FAIL", "error": error, "lost_cause": None}) is None
    assert lost_cause({"state": "FAIL", "error": error, "lost_cause": "given_up"}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lost_cause": "bad luck"}, "must be one of"),
        ({"lost_cause": "given_up"}, "must not be given_up in a row of state LOST"),
        ({"state": "FAIL", "error": "x", "lost_cause": "timeout"}, "must not be timeout in a row"),
    ],
)
def test_a_code_that_is_none_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        write_row(LOST | changes, tmp_path / "a.parquet")
