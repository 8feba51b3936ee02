"""Core-hours of jobs, from their own records, and from sacct to check them by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm import commands as scheduler
from slurm.records import last_seen, read_exit, read_start


@dataclass(frozen=True)
class Usage:
    """What a job took so far, restarts included."""

    cpus: int  # allocated
    elapsed_seconds: float
    cpu_seconds: float  # 0 unless the last run left an exit record
    max_rss_bytes: int  # likewise

    @property
    def core_hours(self) -> float:
        """Allocated, whether the cores were busy or not."""
        return self.cpus * self.elapsed_seconds / 3600


def job_accounting(job_ids: Sequence[str], folder: Path) -> dict[str, Usage]:
    """Usage of the jobs that have started.

    A job that still runs, or was killed, is known up to the last time that it touched its record,
    at most `slurm.job_process.HEARTBEAT_SECONDS` before.
    """
    usage: dict[str, Usage] = {}
    for job_id in job_ids:
        job = read_start(job_id, folder)
        if job is None or job.started is None:
            continue
        exit = read_exit(job_id, folder)
        if exit is None:
            elapsed = last_seen(job_id, folder) - job.started
            usage[job_id] = Usage(job.cpus, job.earlier_seconds + elapsed, 0.0, 0)
        else:
            elapsed = job.earlier_seconds + exit.elapsed_seconds
            usage[job_id] = Usage(job.cpus, elapsed, exit.cpu_seconds, exit.max_rss_bytes)
    return usage


def sacct_core_hours(job_ids: Sequence[str]) -> float | None:
    """Core-hours of the jobs by Slurm's accounting; None on a cluster without one."""
    seconds = scheduler.accounting_cpu_seconds(job_ids)
    return sum(seconds.values()) / 3600 if seconds else None
