"""The jobs' logs, found from a trial's number."""

from collections.abc import Iterator
from pathlib import Path

from slurm.jobs import log_paths
from sweeps import claims
from sweeps.config import ConfigError
from sweeps.rounds import rounds
from sweeps.run import Run


def tail_logs(run: Run, trial: int | None, lines: int) -> Iterator[str]:
    """Yield the end of each log: of all jobs, or of the job that ran a trial last.

    Raises:
        ConfigError: No such trial.
    """
    if trial is None:
        jobs = [job for submitted in rounds(run) for job in submitted.jobs]
    else:
        owner = claims.newest(run, trial)
        if owner is None:
            started = len(claims.numbers(run))
            raise ConfigError(f"no trial {trial} in {run.path}: {started} have started")
        jobs = [owner.job_id]
    for job in jobs:
        for path in log_paths(job, run.jobs):
            if path.exists() and path.stat().st_size:
                yield f"==> {path} <==\n{_tail(path, lines)}"


def _tail(path: Path, lines: int) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])
