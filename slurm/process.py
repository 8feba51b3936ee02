"""Processes of this machine, told apart by id and start time: an id alone is used again."""

import contextlib
import socket

import psutil

from slurm.records import Job

LOCAL_ID_VARIABLE = "SUBMITIT_LOCAL_JOB_ID"

# Start times are read back from a clock that may be stepped; an id is not used again as fast.
_TOLERANCE_SECONDS = 2.0


def start_time(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None if it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


def is_running(pid: int, started: float) -> bool:
    """Whether the process that had this id and start time still runs."""
    now = start_time(pid)
    return now is not None and abs(now - started) < _TOLERANCE_SECONDS


def is_alive(job: Job) -> bool:
    """Whether a local job's process runs; True for another host's, which cannot be judged here."""
    return job.host != socket.gethostname() or is_running(job.pid, job.pid_started)


def kill_job(job_id: str, *, grace_seconds: float = 5.0) -> None:
    """End every process of a local job: SIGTERM, and SIGKILL for what is left of them.

    They are found by the variable that they inherited, so children that outlived a killed job are
    found as well.
    """
    family = [process for process in psutil.process_iter() if _belongs_to(process, job_id)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_seconds)


def _belongs_to(process: psutil.Process, job_id: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return bool(process.environ().get(LOCAL_ID_VARIABLE) == job_id)
    return False
