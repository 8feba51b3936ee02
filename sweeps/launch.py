"""Submission of a run: prepare, then workers, then finalize, each after the one before it."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slurm.jobs import JobState, job_states
from slurm.profile import JobResources, Kind, Profile
from slurm.submit import render as render_job
from slurm.submit import submit
from sweeps.config import ConfigError, SweepConfig
from sweeps.jobs import finalize_job, prepare_job, worker_job
from sweeps.reconcile import LIVE
from sweeps.run import Run, read_json, write_json


@dataclass(frozen=True)
class Round:
    """The jobs of one submission; healing and `resume` add rounds to a run."""

    number: int
    prepare: list[str]
    workers: list[str]
    finalize: list[str]
    submitted_utc: str
    reason: str = "submit"
    grown: dict[str, Any] = field(default_factory=dict)

    @property
    def jobs(self) -> list[str]:
        return [*self.prepare, *self.workers, *self.finalize]


def rounds(run: Run) -> list[Round]:
    """Return the submissions of a run, oldest first."""
    found = [read_json(path) for path in sorted(run.path.glob("rounds/*.json"))]
    return [Round(**values) for values in found if values]


def live_jobs(run: Run) -> dict[str, JobState]:
    """Return the jobs of a run that wait or run now. One scheduler query."""
    ids = [job for submitted in rounds(run) for job in submitted.jobs]
    states = job_states(ids, run.jobs) if ids else {}
    return {job: state for job, state in states.items() if state in LIVE}


def launch(
    run: Run, *, trials_left: int, reason: str = "submit", worker: JobResources | None = None
) -> Round:
    """Submit one round and return at once; `worker` overrides what a worker asks for."""
    number = len(rounds(run))
    worker = worker or run.profile.job("worker")
    name = f"lmopt-{run.name}"
    jobs = _worker_count(run, trials_left)
    prepare = _submit_prepare(run, name, worker, jobs)
    calls = [(str(run.path), number * 10_000 + index, worker) for index in range(jobs)]
    parallel = worker.model_copy(
        update={"array_parallelism": min(worker.array_parallelism, run.sweep.resources.workers)}
    )
    workers = submit(
        run.profile, "worker", worker_job, calls, folder=run.jobs, name=name,
        after=prepare, dependency="afterok", resources=parallel,
    )  # fmt: skip
    finalize = submit(
        run.profile, "finalize", finalize_job, [(str(run.path), number)], folder=run.jobs,
        name=name, after=workers, dependency="afterany",
    )  # fmt: skip
    made = Round(
        number, prepare, workers, finalize, datetime.now(UTC).isoformat(), reason,
        {"mem_gb": worker.mem_gb, "time_min": worker.time_min, "exclude": worker.exclude},
    )  # fmt: skip
    (run.path / "rounds").mkdir(exist_ok=True)
    write_json(run.path / "rounds" / f"{number:04d}.json", asdict(made))
    return made


def _submit_prepare(run: Run, name: str, worker: JobResources, jobs: int) -> list[str]:
    resources = run.profile.job("prepare")
    if run.profile.scheduler == "local":
        # Nothing else of this run works meanwhile: the teacher may have all the workers' cores.
        cores = min(os.cpu_count() or 1, max(resources.cpus, worker.cpus * jobs))
        resources = resources.model_copy(update={"cpus": cores})
    return submit(
        run.profile, "prepare", prepare_job, [(str(run.path),)], folder=run.jobs,
        name=name, resources=resources,
    )  # fmt: skip


def _worker_count(run: Run, trials_left: int) -> int:
    """Return how many worker jobs the trials that are left can keep busy."""
    per_job = run.profile.trials_per_job
    if per_job is not None:
        return max(1, math.ceil(trials_left / per_job))
    return max(1, min(run.sweep.resources.workers, trials_left))


@contextmanager
def submitting(run: Run) -> Iterator[None]:
    """Let one process at a time submit jobs for a run, and only while none of its jobs live.

    Raises:
        ConfigError: Another process is submitting, or there are live jobs.
    """
    try:
        with FileLock(run.path / "launch.lock", timeout=0):
            if live := live_jobs(run):
                raise ConfigError(
                    f"{run.path} has {len(live)} jobs waiting or running: watch them with "
                    f"'lmopt status {run.path}' or end them with 'lmopt cancel {run.path}'"
                )
            yield
    except Timeout:
        raise ConfigError(f"{run.path} is being submitted by another process") from None


def render(sweep: SweepConfig, profile: Profile, path: Path) -> str:
    """Return the exact job scripts that submitting would hand to the scheduler."""
    scripts = []
    kinds: tuple[Kind, ...] = ("prepare", "worker", "finalize")
    for kind in kinds:
        tasks = sweep.resources.workers if kind == "worker" else 1
        text = render_job(
            profile, kind, folder=path / "jobs", name=f"lmopt-{path.name}", tasks=tasks
        )
        scripts.append(f"### {kind}\n{text}")
    return "\n".join(scripts)
