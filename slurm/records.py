"""The records that a job leaves: `<job_id>.start.json` and `<job_id>.exit.json`.

They answer what no scheduler keeps for long, and all that is known of a job where there is none.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from slurm.files import write_atomic

# The start record of the job that a process belongs to: inherited by the children of the job, and
# still that of this run when Slurm has started the job again elsewhere.
JOB_VARIABLE = "LMOPT_JOB"
# PLACE_FAIL: the job itself says that its node or its disk does not let it work.
ExitState = Literal["DONE", "FAILED", "CANCELLED", "TIMEOUT", "PLACE_FAIL"]


@dataclass(frozen=True)
class Job:
    """The start record. Times are seconds since the epoch."""

    job_id: str  # "123_4" for a task of an array
    scheduler: str  # "slurm" or "local"
    folder: str
    pid: int
    pid_started: float
    host: str
    node: str  # Slurm's name of it, as `exclude` takes it
    cores: tuple[int, ...]
    cpus: int  # allocated
    restarts: int  # by Slurm, after preemption or node failure
    started: float | None  # when it got its cores; None: a local job that waits for some
    end_time: float | None  # None: no time limit
    earlier_seconds: float = 0.0  # what the runs before a restart took

    def seconds_left(self) -> float | None:
        """Seconds until the time limit, None without one."""
        return None if self.end_time is None else self.end_time - time.time()


@dataclass(frozen=True)
class Exit:
    """The exit record, missing when the process was killed outright."""

    job_id: str
    state: ExitState
    error: str | None  # one line
    restarts: int
    ended: float
    elapsed_seconds: float
    cpu_seconds: float  # of the process and the children that it waited for
    max_rss_bytes: int

    @property
    def ok(self) -> bool:
        return self.state == "DONE"

    @property
    def left_its_place(self) -> bool:
        """Whether the job ended by itself because its node or its disk did not let it work."""
        return self.state == "PLACE_FAIL"


def start_path(job_id: str, folder: Path) -> Path:
    return folder / f"{job_id}.start.json"


def exit_path(job_id: str, folder: Path) -> Path:
    return folder / f"{job_id}.exit.json"


def write_record(record: Job | Exit, folder: Path, *, replace: bool = True) -> None:
    """Write the record of a job, atomically; with `replace=False` one that is there stays."""
    path = (start_path if isinstance(record, Job) else exit_path)(record.job_id, folder)
    write_atomic(path, json.dumps(asdict(record)), replace=replace)


def read_start(job_id: str, folder: Path) -> Job | None:
    values = _read(start_path(job_id, folder))
    return None if values is None else _job(values)


def current_job() -> Job | None:
    """The job that this process belongs to, None outside of one."""
    values = os.environ.get(JOB_VARIABLE)
    return None if values is None else _job(json.loads(values))


def enter_job(job: Job) -> None:
    """Make `job` the current one of this process and its children."""
    os.environ[JOB_VARIABLE] = json.dumps(asdict(job))


def read_exit(job_id: str, folder: Path) -> Exit | None:
    values = _read(exit_path(job_id, folder))
    return None if values is None else Exit(**values)


def last_seen(job_id: str, folder: Path) -> float:
    """When the job last touched its start record, which it does every few seconds."""
    return start_path(job_id, folder).stat().st_mtime


def _job(values: dict[str, Any]) -> Job:
    return Job(**values | {"cores": tuple(values["cores"])})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return values
