"""What every worker is doing right now: one small file a job, read by `status` and `--wait`."""

import contextlib
import time
from dataclasses import asdict, dataclass

from sweeps.run.directory import Run
from sweeps.run.files import read_json, write_json

WRITE_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Progress:
    """The work of one job: a trial's number (None while preparing), its stage, how far it is."""

    job_id: str
    kind: str
    trial: int | None
    stage: str
    fraction: float | None
    since: float
    updated: float


class ProgressFile:
    """Writes what a job is doing, at most once a second, and never fails because of it."""

    def __init__(self, run: Run, job_id: str, kind: str) -> None:
        self._path = run.progress / f"{job_id}.json"
        self._job_id, self._kind = job_id, kind
        self._trial: int | None = None
        self._stage, self._since, self._written = "", time.time(), 0.0

    def start(self, trial: int | None) -> None:
        """Begin a trial, or None: something that is no trial."""
        self._trial, self._stage, self._since = trial, "", time.time()

    def __call__(self, stage: str, fraction: float | None = None) -> None:
        """Say which stage runs and which share of it is done."""
        now = time.time()
        if stage == self._stage and now - self._written < WRITE_INTERVAL_S:
            return
        self._stage, self._written = stage, now
        values = Progress(self._job_id, self._kind, self._trial, stage, fraction, self._since, now)
        # A full disk must not end a training run because of its progress bar.
        with contextlib.suppress(OSError):
            write_json(self._path, asdict(values))

    def close(self) -> None:
        """Take the file away: the job is over."""
        self._path.unlink(missing_ok=True)


def read_progress(run: Run) -> list[Progress]:
    """Return what the jobs of a run were last seen doing."""
    found = [read_json(path) for path in sorted(run.progress.glob("*.json"))]
    return [Progress(**values) for values in found if values]
