"""What `lmopt status` says of trials without a result, and of the time that a run took."""

import io
import os
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from analysis.rows.table import read_rows, write_row
from slurm.records import Exit, start_path, write_record
from sweeps.cli.render_status import status_view
from sweeps.report.active_time import active_seconds
from sweeps.report.causes import Cause, common_causes
from sweeps.report.status import read_status
from sweeps.run.directory import Run, set_budget
from sweeps.run.rounds import Round, rounds, write_round
from tests.sweeps.small_run import make_job


def leave(run: Run, number: int, attempt: int, state: str, error: str | None) -> None:
    row = {"run": "r", "study": "r", "trial": number, "attempt": attempt, "kind": "search"}
    done: dict[str, Any] = {"accuracy_validation": 0.5, "size_bytes": 1, "speedup_b1": 1.0}
    values = done if state == "COMPLETE" else {"error": error}
    write_row({**row, "state": state, **values}, run.row_path(number, attempt))


@pytest.fixture
def failing(run: Run) -> Run:
    """Five kinds of trials that failed, and one that came to its end at its second attempt."""
    for number, error in enumerate(["KeyError: 'a'"] * 3 + ["ValueError: b"] * 2 + ["c", "d"]):
        leave(run, number, 0, "FAIL", error)
    leave(run, 7, 0, "LOST", "trouble of the place: OSError: [Errno 28] No space left")
    leave(run, 8, 0, "LOST", "timeout: job 7 is gone")
    leave(run, 8, 1, "COMPLETE", None)
    return run


def test_the_commonest_causes_come_first(failing: Run) -> None:
    causes = common_causes(read_rows(failing.path))
    assert causes[:2] == [Cause("FAIL", "KeyError: 'a'", 3), Cause("FAIL", "ValueError: b", 2)]
    assert len(causes) == 5 and sum(cause.trials for cause in causes) == 8
    assert common_causes(read_rows(failing.path).iloc[:0]) == []


def test_the_status_says_why_trials_failed(failing: Run) -> None:
    """It said "1 fail", and left the reason to those who knew where the rows lie."""
    stream = io.StringIO()
    status = read_status(failing)
    Console(file=stream, width=100, highlight=False).print(status_view(status))
    said = stream.getvalue()
    assert "3 fail: KeyError: 'a'\n" in said and "2 fail: ValueError: b\n" in said
    assert "2 more for other reasons" in said
    assert status.to_json()["causes"][0] == {
        "state": "FAIL", "error": "KeyError: 'a'", "trials": 3,
    }  # fmt: skip


def at(hour: float) -> str:
    return datetime.fromtimestamp(1_000_000 + 3600 * hour, UTC).isoformat()


def ended(run: Run, job: str, hour: float) -> None:
    write_record(Exit(job, "DONE", None, 0, 1_000_000 + 3600 * hour, 1.0, 1.0, 1), run.jobs)


def a_round(run: Run, number: int, hour: float, reason: str, end: float | None) -> None:
    jobs = [f"{number}-{kind}" for kind in range(2)]
    write_round(run, Round(number, jobs[:1], jobs[1:], [], at(hour), reason))
    if end is not None:
        ended(run, jobs[0], hour)
        ended(run, jobs[1], end)


def test_a_pause_is_not_time_used(run: Run) -> None:
    """Two hours of work, a week of holidays, three hours of work, one of them in two rounds."""
    a_round(run, 0, 0, "submit", 2)
    a_round(run, 1, 170, "resume", 172)
    a_round(run, 2, 171, "budget left", 173)
    used = active_seconds(run, rounds(run), read_rows(run.path), goes_on=False)
    assert used == 3600 * (2 + 3)


def test_a_round_whose_jobs_never_started_took_no_time(run: Run) -> None:
    a_round(run, 0, 0, "submit", None)
    assert active_seconds(run, rounds(run), pd.DataFrame(read_rows(run.path)), goes_on=False) == 0
    assert active_seconds(run, [], read_rows(run.path), goes_on=True) == 0


def test_a_job_that_was_killed_was_active_until_it_was_last_seen(run: Run) -> None:
    a_round(run, 0, 0, "submit", None)
    make_job(run, "0-1")
    seen = 1_000_000 + 3600 * 4
    os.utime(start_path("0-1", run.jobs), (seen, seen))
    assert active_seconds(run, rounds(run), read_rows(run.path), goes_on=False) == 3600 * 4


def test_a_budget_that_was_raised_is_seen_by_who_looks_on(run: Run) -> None:
    assert read_status(run).budget == 12
    set_budget(run, 20)
    assert read_status(run).budget == 20
