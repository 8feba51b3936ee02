"""Who runs which attempt of which trial: files that only one job can create."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slurm.files import write_atomic
from sweeps.run.directory import Run
from sweeps.run.files import as_json


@dataclass(frozen=True)
class Claim:
    """The ownership of one attempt. The newest claim of a trial owns the trial."""

    number: int
    attempt: int
    job_id: str
    restarts: int
    node: str
    started_utc: str
    params: dict[str, Any]
    recipe: dict[str, Any]
    key: str
    reference: str | None
    mem_gb: float | None
    time_min: float | None
    git_commit: str | None = None  # of the code that runs it, which `resume` may have newer


def take(run: Run, claim: Claim) -> bool:
    """Take an attempt; False if another job was first."""
    path = _path(run, claim.number, claim.attempt)
    return write_atomic(path, as_json(asdict(claim)), replace=False)


def newest(run: Run, number: int) -> Claim | None:
    """Return the newest claim of a trial; None if nobody took it yet."""
    attempts = _attempts(run, number)
    return _read(_path(run, number, attempts - 1)) if attempts else None


def of_trial(run: Run, number: int) -> list[Claim]:
    """Return the claims of a trial, those of lost attempts first; none if nobody took it yet."""
    return [_read(_path(run, number, attempt)) for attempt in range(_attempts(run, number))]


def numbers(run: Run) -> set[int]:
    """Return the numbers of all trials that were ever taken."""
    names = (entry.name for entry in os.scandir(run.claims))
    return {int(name.split("-")[0]) for name in names if not name.startswith(".")}


def owns(run: Run, claim: Claim) -> bool:
    """Whether no newer attempt of the same trial was claimed since."""
    return not _path(run, claim.number, claim.attempt + 1).exists()


def _attempts(run: Run, number: int) -> int:
    attempt = 0
    while _path(run, number, attempt).exists():
        attempt += 1
    return attempt


def _path(run: Run, number: int, attempt: int) -> Path:
    return run.claims / f"{number:06d}-{attempt:02d}.json"


def _read(path: Path) -> Claim:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        # Torn by a full disk or a crash: the attempt is taken, by nobody who still lives.
        number, attempt = (int(part) for part in path.stem.split("-"))
        return Claim(number, attempt, "", 0, "", "", {}, {}, "", None, None, None)
    return Claim(**values)
