"""For how long a run was active: its pauses, between an end and a `resume`, do not count."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import pandas as pd

from slurm.records import last_seen, read_exit
from sweeps.run.directory import Run
from sweeps.run.rounds import Round


def active_seconds(
    run: Run, submitted: Sequence[Round], rows: pd.DataFrame, *, goes_on: bool
) -> float:
    """Return the seconds that a run was active: in the queue or at work, in any of its rounds.

    A round is active from its submission to the last sign of life of its jobs. If the run
    `goes_on`, the last one is active until now.
    """
    active, until = 0.0, 0.0
    for start, end in sorted(_spans(run, submitted, rows, goes_on)):
        active += max(0.0, end - max(start, until))
        until = max(until, end)
    return active


def _spans(
    run: Run, submitted: Sequence[Round], rows: pd.DataFrame, goes_on: bool
) -> Iterator[tuple[float, float]]:
    for part in submitted:
        start = datetime.fromisoformat(part.submitted_utc).timestamp()
        signs = [start, *_signs_of_life(run, part, rows)]
        if goes_on and part is submitted[-1]:
            signs.append(time.time())
        yield start, max(signs)


def _signs_of_life(run: Run, part: Round, rows: pd.DataFrame) -> Iterator[float]:
    for job in part.jobs:
        ended = read_exit(job, run.jobs)
        if ended is not None:
            yield ended.ended
        else:
            with suppress(FileNotFoundError):  # It has not started.
                yield last_seen(job, run.jobs)
    for moment in rows.loc[rows["job_id"].isin(part.jobs), "finished_utc"].dropna():
        yield moment.timestamp()
