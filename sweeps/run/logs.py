"""The jobs' logs, found from a trial's number."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slurm.states import log_paths
from sweeps.definition.errors import ConfigError
from sweeps.run import claims
from sweeps.run.directory import Run
from sweeps.run.rounds import rounds


@dataclass(frozen=True)
class Log:
    """The end of one log; `attempts` of the trial that was asked for, which its job ran."""

    job: str
    attempts: list[int]
    path: str
    text: str

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.attempts))
        of = f" (attempt{'s' if len(self.attempts) > 1 else ''} {numbers})" if numbers else ""
        return f"==> {self.path}{of} <==\n{self.text}"


def tail_logs(run: Run, trial: int | None, lines: int) -> Iterator[Log]:
    """Yield the end of each log: of all jobs, or of those that ran a trial, lost attempts too.

    Raises:
        ConfigError: No such trial.
    """
    attempts: dict[str, list[int]] = {}
    if trial is None:
        attempts = {job: [] for submitted in rounds(run) for job in submitted.jobs}
    else:
        for claim in claims.of_trial(run, trial):
            attempts.setdefault(claim.job_id, []).append(claim.attempt)
        if not attempts:
            started = len(claims.numbers(run))
            raise ConfigError(f"no trial {trial} in {run.path}: {started} have started")
    for job, numbers in attempts.items():
        for path in log_paths(job, run.jobs):
            if path.exists() and path.stat().st_size:
                yield Log(job, numbers, str(path), _tail(path, lines))


def _tail(path: Path, lines: int) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])
