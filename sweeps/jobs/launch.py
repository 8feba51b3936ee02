"""Submission of a run: prepare, then workers, then finalize, each after the one before it."""

import math
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from analysis.rows.units import counted
from slurm.commands import submission_room
from slurm.local import machine_cores
from slurm.profile import JobResources, Profile
from slurm.states import cancel, known_states
from slurm.submit import SubmissionError, submit
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import SweepConfig
from sweeps.run.directory import Run
from sweeps.run.files import quoted
from sweeps.run.locks import LockedError, LockError, locked
from sweeps.run.rounds import (
    Round,
    forget_round,
    launch_lock,
    live_jobs,
    prepare_losses,
    rounds,
    write_round,
)
from sweeps.study.study import open_study

# The jobs' functions go by name: the finalizer submits, so submitting must not import finalizers.
ENTRY = "sweeps.jobs.entry"
CANCEL_WAIT_S = 30.0
OTHER_JOBS = 3  # of a round, beside its workers: prepare, finalize and its guard


def launch(
    run: Run,
    *,
    trials_left: int,
    reason: str = "submit",
    worker: JobResources | None = None,
    elsewhere: Collection[str] = (),
) -> Round:
    """Submit one round and return at once.

    `worker` overrides what a worker asks for; prepare stays away from the nodes in `elsewhere`.
    """
    number = len(rounds(run))
    worker = worker or run.profile.job("worker")
    jobs = worker_count(run.sweep, run.profile, trials_left)
    calls = [(str(run.path), number * 10_000 + index, worker) for index in range(jobs)]
    parallel = worker.model_copy(
        update={"array_parallelism": min(worker.array_parallelism, run.sweep.resources.workers)}
    )
    with _all_or_none(run, number) as submitted:
        prepare = _submit_prepare(run, worker, jobs, elsewhere)
        submitted += prepare
        workers = submit(
            run.profile, "worker", f"{ENTRY}:worker_job", calls, folder=run.jobs, name=_name(run),
            after=prepare, dependency="afterok", resources=parallel,
        )  # fmt: skip
        submitted += workers
        made = Round(
            number, prepare, workers, [], datetime.now(UTC).isoformat(), reason,
            {"mem_gb": worker.mem_gb, "time_min": worker.time_min, "exclude": worker.exclude},
        )  # fmt: skip
        write_round(run, made)  # the finalizer looks for it
        return _submit_finalize(run, made, submitted, after=workers)


def launch_finalize(run: Run, part: Round, *, after: list[str]) -> Round:
    """Submit the finalizer of a round again, with more of what it ran out of, and its guard."""
    with _all_or_none(run, None) as submitted:
        return _submit_finalize(run, part, submitted, after=after)


def launch_measure(run: Run, part: Round) -> Round:
    """Submit a job that times the front where the profile says, and the finalizer after it."""
    lost = part.measure_lost
    resources = run.profile.job(
        "measure", out_of_memory=lost.count("out_of_memory"), timeouts=lost.count("timeout")
    )
    with _all_or_none(run, None) as submitted:
        measure = submit(
            run.profile, "measure", f"{ENTRY}:measure_job", [(str(run.path),)], folder=run.jobs,
            name=_name(run), resources=resources,
        )  # fmt: skip
        submitted += measure
        part = replace(part, measure=[*part.measure, *measure])
        return _submit_finalize(run, part, submitted, after=measure)


def _submit_finalize(run: Run, part: Round, submitted: list[str], *, after: list[str]) -> Round:
    lost = part.finalize_lost
    resources = run.profile.job(
        "finalize", out_of_memory=lost.count("out_of_memory"), timeouts=lost.count("timeout")
    )
    finalize = submit(
        run.profile, "finalize", f"{ENTRY}:finalize_job", [(str(run.path), part.number)],
        folder=run.jobs, name=_name(run), after=after, dependency="afterany", resources=resources,
    )  # fmt: skip
    submitted += finalize
    return launch_guard(run, replace(part, finalize=[*part.finalize, *finalize]))


def launch_guard(run: Run, part: Round) -> Round:
    """Submit the job that starts if the finalizer does not come to its end, and then replaces it.

    The round is recorded only now, as a whole one.
    """
    finalizer = part.finalize[-1]
    guard = submit(
        run.profile, "finalize", f"{ENTRY}:guard_job", [(str(run.path), part.number, finalizer)],
        folder=run.jobs, name=f"{_name(run)}-guard", after=[finalizer], dependency="afternotok",
        resources=run.profile.guard(),
    )  # fmt: skip
    made = replace(part, guards=[*part.guards, *guard])
    write_round(run, made)
    return made


def take_back(run: Run, number: int, me: str) -> None:
    """Cancel what a submitter that was killed left behind after round `number`. Needs the lock."""
    known = {job for part in rounds(run)[: number + 1] for job in part.jobs}
    leftover = [job for job in live_jobs(run, known_states) if job not in {*known, me}]
    cancel(leftover, run.jobs)
    for part in rounds(run)[number + 1 :]:
        forget_round(run, part.number)


@contextmanager
def _all_or_none(run: Run, number: int | None) -> Iterator[list[str]]:
    """Cancel the jobs that were submitted, and forget their round, if another one is refused."""
    submitted = list[str]()
    try:
        yield submitted
    except BaseException:
        with suppress(RuntimeError):
            cancel(submitted[::-1], run.jobs)
        if number is not None:
            forget_round(run, number)
        raise


def _submit_prepare(
    run: Run, worker: JobResources, jobs: int, elsewhere: Collection[str]
) -> list[str]:
    lost = prepare_losses(run)
    resources = run.profile.job(
        "prepare",
        out_of_memory=lost["out_of_memory"],
        timeouts=lost["timeout"],
        exclude=elsewhere,
    )
    if run.profile.scheduler == "local":
        # Nothing else of this run works meanwhile: the teacher may have all the workers' cores.
        cores = min(len(machine_cores()), max(resources.cpus, worker.cpus * jobs))
        resources = resources.model_copy(update={"cpus": cores})
    return submit(
        run.profile, "prepare", f"{ENTRY}:prepare_job", [(str(run.path),)], folder=run.jobs,
        name=_name(run), resources=resources,
    )  # fmt: skip


def _name(run: Run) -> str:
    return f"lmopt-{run.name}"


def worker_count(sweep: SweepConfig, profile: Profile, trials: int) -> int:
    """Return how many worker jobs a round submits now for a number of trials."""
    wanted = worker_jobs(sweep, profile, trials)
    room = _room(profile) - OTHER_JOBS
    return max(1, wanted if room > wanted else int(room))


def worker_jobs(sweep: SweepConfig, profile: Profile, trials: int) -> int:
    """Return how many worker jobs a number of trials is given where the queue has room for all."""
    if profile.trials_per_job is not None:
        return math.ceil(trials / profile.trials_per_job)
    return min(sweep.resources.workers, trials)


def _room(profile: Profile) -> float:
    """Return how many jobs this user may submit now; the finalizer's next round does the rest."""
    room = None
    if profile.scheduler == "slurm":
        with suppress(RuntimeError):  # slurmctld is silent: the submission will say so
            room = submission_room(profile.account, profile.qos)
    return math.inf if room is None else room


def cancel_run(run: Run) -> int:
    """End all jobs of a run, and keep its finalizer from submitting more; return how many.

    Waits a little for their end, so that a `resume` that follows is not refused.
    """
    with launch_lock(run):
        live = live_jobs(run)
        guards = {job for part in rounds(run) for job in part.guards}
        # Guards first: the end of a finalizer is what they wait for.
        cancel(sorted(live, key=lambda job: job not in guards), run.jobs)
    deadline = time.monotonic() + CANCEL_WAIT_S
    while live and live_jobs(run) and time.monotonic() < deadline:
        time.sleep(0.5)
    return len(live)


@contextmanager
def submitting(run: Run) -> Iterator[None]:
    """Let one process at a time submit jobs for a run, and only while none of its jobs live.

    Raises:
        ConfigError: Another process is submitting, or there are live jobs.
        SilentControllerError: Slurm does not answer, so nothing is known of the run's jobs.
    """
    try:
        with locked(run.path / "launch.lock", 0):
            if live := live_jobs(run, known_states):
                raise ConfigError(
                    f"{run.path} has {counted(len(live), 'job')} waiting or running: watch with "
                    f"'lmopt status {quoted(run.path)}' or end it with "
                    f"'lmopt cancel {quoted(run.path)}'"
                )
            yield
    except LockedError:
        raise ConfigError(f"{run.path} is being submitted by another process") from None


def launch_new(run: Run) -> Round:
    """Make the study and submit the first round; refused, the new run directory goes too.

    Raises:
        SubmissionError: The scheduler's own words.
        ConfigError: The study's database does not answer.
        LockError: The file system gives no locks.
    """
    try:
        with submitting(run):
            try:
                open_study(run)
                return launch(run, trials_left=run.trials)
            except (SubmissionError, ConfigError):
                shutil.rmtree(run.path)
                raise
    except LockError:  # Nobody else can work there either.
        shutil.rmtree(run.path)
        raise
