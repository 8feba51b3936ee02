"""Submission of a run: prepare, then workers, then finalize, each after the one before it."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from slurm.jobs import JobState, cancel, job_states
from slurm.local import machine_cores
from slurm.profile import JobResources, Kind, Profile
from slurm.scheduler import submission_room
from slurm.submit import render as render_job
from slurm.submit import submit
from sweeps.config import ConfigError, SweepConfig
from sweeps.jobs import finalize_job, prepare_job, worker_job
from sweeps.reconcile import LIVE
from sweeps.run import Run, read_json, write_json

_SUBMITTED = "_submitted.pkl"  # submitit's, of every job
LAUNCH_TIMEOUT_S = 120


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
    prepare_lost: str = ""  # what ended its prepare job, other than an error of its own
    workers_lost: str = ""  # what ended its workers, if none of them came to start a trial

    @property
    def jobs(self) -> list[str]:
        return [*self.prepare, *self.workers, *self.finalize]


def rounds(run: Run) -> list[Round]:
    """Return the submissions of a run, oldest first."""
    found = [read_json(path) for path in sorted(run.path.glob("rounds/*.json"))]
    return [Round(**values) for values in found if values]


def write_round(run: Run, submitted: Round) -> None:
    """Record a submission."""
    (run.path / "rounds").mkdir(exist_ok=True)
    write_json(run.path / "rounds" / f"{submitted.number:04d}.json", asdict(submitted))


def prepare_losses(run: Run) -> Counter[str]:
    """Return how often prepare jobs were lost, by cause."""
    return Counter(part.prepare_lost for part in rounds(run) if part.prepare_lost)


def worker_losses(run: Run) -> Counter[str]:
    """Return how often the workers of a round were lost before any trial, by cause."""
    return Counter(part.workers_lost for part in rounds(run) if part.workers_lost)


def live_jobs(run: Run) -> dict[str, JobState]:
    """Return the jobs of a run that wait or run now. One scheduler query.

    All that were ever submitted are asked for, those too whose round was never recorded because
    its submitter was killed.
    """
    ids = sorted(path.name.removesuffix(_SUBMITTED) for path in run.jobs.glob(f"*{_SUBMITTED}"))
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
    calls = [(str(run.path), number * 10_000 + index, worker) for index in range(jobs)]
    parallel = worker.model_copy(
        update={"array_parallelism": min(worker.array_parallelism, run.sweep.resources.workers)}
    )
    with _all_or_none(run) as submitted:
        prepare = _submit_prepare(run, name, worker, jobs)
        submitted += prepare
        workers = submit(
            run.profile, "worker", worker_job, calls, folder=run.jobs, name=name,
            after=prepare, dependency="afterok", resources=parallel,
        )  # fmt: skip
        submitted += workers
        made = Round(
            number, prepare, workers, [], datetime.now(UTC).isoformat(), reason,
            {"mem_gb": worker.mem_gb, "time_min": worker.time_min, "exclude": worker.exclude},
        )  # fmt: skip
        write_round(run, made)  # the finalizer looks for it
        finalize = submit(
            run.profile, "finalize", finalize_job, [(str(run.path), number)], folder=run.jobs,
            resources=finalize_resources(run.profile),
            name=name, after=workers, dependency="afterany",
        )  # fmt: skip
        submitted += finalize
    made = replace(made, finalize=finalize)
    write_round(run, made)
    return made


@contextmanager
def _all_or_none(run: Run) -> Iterator[list[str]]:
    """Cancel the jobs that were submitted, and forget their round, if another one is refused."""
    number, submitted = len(rounds(run)), list[str]()
    try:
        yield submitted
    except BaseException:
        with suppress(RuntimeError):
            cancel(submitted, run.jobs)
        (run.path / "rounds" / f"{number:04d}.json").unlink(missing_ok=True)
        raise


def _submit_prepare(run: Run, name: str, worker: JobResources, jobs: int) -> list[str]:
    lost = prepare_losses(run)
    resources = run.profile.job(
        "prepare", out_of_memory=lost["out_of_memory"], timeouts=lost["timeout"]
    )
    if run.profile.scheduler == "local":
        # Nothing else of this run works meanwhile: the teacher may have all the workers' cores.
        cores = min(len(machine_cores()), max(resources.cpus, worker.cpus * jobs))
        resources = resources.model_copy(update={"cpus": cores})
    return submit(
        run.profile, "prepare", prepare_job, [(str(run.path),)], folder=run.jobs,
        name=name, resources=resources,
    )  # fmt: skip


def _worker_count(run: Run, trials_left: int) -> int:
    """Return how many worker jobs the trials that are left can keep busy."""
    per_job = run.profile.trials_per_job
    if per_job is not None:
        wanted = math.ceil(trials_left / per_job)
    else:
        wanted = min(run.sweep.resources.workers, trials_left)
    room = _room(run.profile) - 2  # prepare and finalize need theirs
    return max(1, wanted if room > wanted else int(room))


def _room(profile: Profile) -> float:
    """Return how many jobs this user may submit now; the finalizer's next round does the rest."""
    room = None
    if profile.scheduler == "slurm":
        with suppress(RuntimeError):  # slurmctld is silent: the submission will say so
            room = submission_room(profile.account, profile.qos)
    return math.inf if room is None else room


def cancel_run(run: Run) -> int:
    """End all jobs of a run, and keep its finalizer from submitting more; return how many."""
    with FileLock(run.path / "launch.lock", timeout=LAUNCH_TIMEOUT_S):
        live = live_jobs(run)
        cancel(list(live), run.jobs)
    return len(live)


def finalize_resources(profile: Profile) -> JobResources:
    """Return what the last job asks for: it times the front, so `measure` says where it runs."""
    return profile.job("measure" if profile.measure.model_fields_set else "finalize")


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
