"""Who runs which attempt of which trial: files that only one job can create."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slurm.files import write_atomic
from sweeps.run.directory import Run
from sweeps.run.files import as_json


@dataclass(frozen=True)
class Claim:
    """The ownership of one attempt. The newest claim of a trial owns the trial.

    Without a job it is nobody's: of a trial that no worker came to claim, or that is given up.
    """

    number: int
    attempt: int
    job_id: str = ""
    restarts: int = 0
    node: str = ""
    started_utc: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    reference: str | None = None
    mem_gb: float | None = None
    time_min: float | None = None
    git_commit: str | None = None  # of the code that runs it, which `resume` may have newer


def take(run: Run, claim: Claim) -> bool:
    """Take an attempt; False if another job was first."""
    path = _path(run, claim.number, claim.attempt)
    return write_atomic(path, as_json(asdict(claim)), replace=False)


def newest(run: Run, number: int) -> Claim | None:
    """Return the newest claim of a trial; None if nobody took it yet."""
    attempts = count(run, number)
    return _read(_path(run, number, attempts - 1)) if attempts else None


def of_trial(run: Run, number: int) -> list[Claim]:
    """Return the claims of a trial, those of lost attempts first; none if nobody took it yet."""
    return [_read(_path(run, number, attempt)) for attempt in range(count(run, number))]


def numbers(run: Run) -> set[int]:
    """Return the numbers of all trials that were ever taken."""
    names = (entry.name for entry in os.scandir(run.claims))
    return {int(name.split("-")[0]) for name in names if name[0] != "." and name.endswith(".json")}


def owns(run: Run, claim: Claim) -> bool:
    """Whether no newer attempt of the same trial was claimed since."""
    return not _path(run, claim.number, claim.attempt + 1).exists()


def take_back(run: Run, claim: Claim) -> None:
    """Let a trial that failed be run again: the row of this attempt settles it no more."""
    _taken_back(run, claim).touch()


def is_taken_back(run: Run, claim: Claim) -> bool:
    """Whether the result of an attempt was taken back."""
    return _taken_back(run, claim).exists()


def count(run: Run, number: int) -> int:
    """Return how many attempts at a trial were claimed, which is the number of the next one."""
    attempt = 0
    while _path(run, number, attempt).exists():
        attempt += 1
    return attempt


def _path(run: Run, number: int, attempt: int) -> Path:
    return run.claims / f"{number:06d}-{attempt:02d}.json"


def _taken_back(run: Run, claim: Claim) -> Path:
    return _path(run, claim.number, claim.attempt).with_suffix(".retried")


def _read(path: Path) -> Claim:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        # Torn by a full disk or a crash: the attempt is taken, by nobody who still lives.
        number, attempt = (int(part) for part in path.stem.split("-"))
        return Claim(number=number, attempt=attempt)
    return Claim(**values)
