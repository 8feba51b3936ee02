"""Failures in a row: of a sweep whose trials all fail, and of a node on which nothing works."""

from datetime import datetime

import pandas as pd

from analysis.rows.table import read_rows
from slurm.records import Job
from sweeps.run.directory import Run
from sweeps.run.files import quoted
from sweeps.run.rounds import rounds

PLACE_STREAK = 3  # attempts in a row on one host


def why_failing(run: Run) -> str | None:
    """Return why no further trial should start, and the remedy; None if one may.

    Only trials that ended since a person submitted or resumed the run count: they have seen what
    was before. One that was lost says nothing of the sweep, nor does one that was given up.
    """
    limit = run.sweep.study.max_failures
    if limit is None:
        return None
    rows = read_rows(run.path)
    rows = rows[rows["kind"].ne("linear") & rows["state"].ne("LOST")]
    rows = rows[rows["lost_cause"].isna() & rows["finished_utc"].gt(_last_word(run))]
    last = rows.sort_values("finished_utc").tail(limit)
    if len(last) < limit or not last["state"].eq("FAIL").all():
        return None
    here = quoted(run.path)
    return (
        f"{limit} trials in a row failed (study.max_failures), the last with"
        f" {last['error'].iloc[-1]}: mend the cause ('lmopt logs {here} {last['trial'].iloc[-1]}'"
        f" says more); 'lmopt resume {here} --retry-failed' runs them again"
    )


def _last_word(run: Run) -> datetime:
    """Return when a person last let the run go on."""
    asked = [part.submitted_utc for part in rounds(run) if part.reason in ("submit", "resume")]
    return datetime.fromisoformat(asked[-1] if asked else "1970-01-01T00:00:00+00:00")


def is_bad_place(run: Run, job: Job) -> bool:
    """Whether the last attempts on this job's host, since it started, all met trouble of the place.

    The workers of one host share what each of them meets.
    """
    rows = read_rows(run.path)
    since = pd.Timestamp(job.started or 0.0, unit="s", tz="UTC")
    here = rows[rows["host"].eq(job.host) & rows["finished_utc"].ge(since)]
    last = here.sort_values("finished_utc").tail(PLACE_STREAK)
    return len(last) == PLACE_STREAK and bool(last["lost_cause"].eq("place").all())
