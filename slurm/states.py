"""State of jobs, from the scheduler and from the records that the jobs themselves leave."""

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from slurm import commands as scheduler
from slurm.errors import SchedulerError
from slurm.process import is_alive, kill_job
from slurm.records import Exit, read_exit, read_start, write_record

JobState = Literal[
    "PENDING",
    "HELD",  # pending until a person releases it, or asks for less
    "RUNNING",
    "DONE",
    "FAILED",  # a Python error: its line is in the exit record
    "CANCELLED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "PREEMPTED",
    "PLACE_FAIL",  # ended by itself, for trouble of its node or of a disk
    "LOST",  # dead without a record, by kill -9 for one
]
LIVE: tuple[JobState, ...] = ("PENDING", "HELD", "RUNNING")
# A question for the states of jobs whose records are in a folder: `job_states`, `known_states`.
AskStates = Callable[[Sequence[str], Path], dict[str, JobState]]
# https://slurm.schedmd.com/squeue.html, job state codes; what is not here is alive.
_SLURM_STATES: dict[str, JobState] = {
    "PENDING": "PENDING",
    "CONFIGURING": "PENDING",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "HELD": "HELD",
    "REQUEUE_HOLD": "HELD",
    "RESV_DEL_HOLD": "HELD",
    "SPECIAL_EXIT": "HELD",
    "COMPLETED": "DONE",
    "FAILED": "FAILED",
    "CANCELLED": "CANCELLED",
    "REVOKED": "CANCELLED",
    "TIMEOUT": "TIMEOUT",
    "DEADLINE": "TIMEOUT",
    "OUT_OF_MEMORY": "OUT_OF_MEMORY",
    "NODE_FAIL": "NODE_FAIL",
    "BOOT_FAIL": "NODE_FAIL",
    "PREEMPTED": "PREEMPTED",
}


def is_local(job_id: str) -> bool:
    """Whether the job is a process of some machine, not Slurm's, whose ids are numbers."""
    return not job_id[:1].isdigit()


def is_over(state: JobState) -> bool:
    """Whether a job in this state will not run any more."""
    return state not in ("PENDING", "HELD", "RUNNING")


def job_states(
    job_ids: Sequence[str], folder: Path, on_silence: Callable[[str], None] = lambda _: None
) -> dict[str, JobState]:
    """State of each job, with at most one squeue (and, for what it forgot, one sacct).

    A job is over only on evidence. While slurmctld is silent (`on_silence` hears why), and for a
    local job of another host without an exit record, a job counts as alive.
    """
    exits = {job_id: read_exit(job_id, folder) for job_id in job_ids}
    states: dict[str, JobState] = {}
    asked: list[str] = []
    for job_id, exit in exits.items():
        if exit is not None and (exit.ok or is_local(job_id)):
            states[job_id] = exit.state
        elif is_local(job_id):
            states[job_id] = _local_state(job_id, folder)
        else:
            asked.append(job_id)
    if asked:
        states |= _slurm_states(asked, exits, folder, on_silence)
    return {job_id: states[job_id] for job_id in job_ids}


def known_states(job_ids: Sequence[str], folder: Path) -> dict[str, JobState]:
    """State of each job as `job_states` gives it, for decisions that need an answer.

    Raises SilentControllerError while slurmctld is silent.
    """

    def refuse(words: str) -> None:
        raise scheduler.SilentControllerError(f"Slurm does not answer: {words}")

    return job_states(job_ids, folder, refuse)


def _local_state(job_id: str, folder: Path) -> JobState:
    job = read_start(job_id, folder)
    if job is None or not is_alive(job):
        # It may have ended, with a record, between the two looks.
        exit = read_exit(job_id, folder)
        return exit.state if exit else _without_record(job_id, folder)
    return "RUNNING" if job.started is not None else "PENDING"


def _slurm_states(
    job_ids: Sequence[str],
    exits: dict[str, Exit | None],
    folder: Path,
    on_silence: Callable[[str], None],
) -> dict[str, JobState]:
    try:
        known = scheduler.queue_states(job_ids)
    except scheduler.SilentControllerError as error:
        on_silence(str(error))
        return {
            job_id: "RUNNING" if read_start(job_id, folder) else "PENDING" for job_id in job_ids
        }
    forgotten = [job_id for job_id in job_ids if job_id not in known]
    if any(exits[job_id] is None for job_id in forgotten):
        known |= scheduler.accounting_states(forgotten)
    return {job_id: _slurm_state(job_id, known.get(job_id), folder) for job_id in job_ids}


def _slurm_state(job_id: str, slurm_state: str | None, folder: Path) -> JobState:
    """Slurm's word, with the job's own where Slurm only knows that it ended."""
    state = _SLURM_STATES.get(slurm_state, "RUNNING") if slurm_state else None
    if state is not None and not is_over(state):
        return state
    exit = read_exit(job_id, folder)
    if exit is not None and (exit.ok or state in (None, "FAILED", "DONE")):
        return exit.state
    if state in (None, "FAILED", "DONE"):
        return _without_record(job_id, folder)
    return state


def earlier_state(job_id: str) -> JobState | None:
    """How the run of a job before its last restart ended; None without Slurm's accounting."""
    ended = [_SLURM_STATES.get(state) for state in scheduler.earlier_states(job_id)]
    return next((state for state in reversed(ended) if state and is_over(state)), None)


def _without_record(job_id: str, folder: Path) -> JobState:
    # submitit's result of a job that could not even unpickle its function.
    return "FAILED" if (folder / f"{job_id}_0_result.pkl").exists() else "LOST"


def cancel(job_ids: Sequence[str], folder: Path) -> None:
    """End jobs, waiting or running; those that are over are left as they are.

    Raises RuntimeError if slurmctld does not answer, or a local job is another machine's.
    """
    local = [job_id for job_id in job_ids if is_local(job_id)]
    scheduler.cancel_jobs([job_id for job_id in job_ids if not is_local(job_id)])
    elsewhere: dict[str, str] = {}
    for job_id in local:
        job = read_start(job_id, folder)
        if job is None or read_exit(job_id, folder) is not None:
            continue
        if job.host != socket.gethostname():
            elsewhere[job_id] = job.host
            continue
        kill_job(job_id)
        if read_exit(job_id, folder) is None:
            now = time.time()
            elapsed_seconds = now - (job.started or now)
            write_record(
                Exit(job_id, "CANCELLED", "cancelled", 0, now, elapsed_seconds, 0.0, 0), folder
            )
    if elsewhere:
        where = ", ".join(f"{job_id} on {host}" for job_id, host in elsewhere.items())
        raise SchedulerError(f"local jobs must be cancelled on their own machine: {where}")


def log_paths(job_id: str, folder: Path) -> tuple[Path, Path]:
    """Standard output and standard error of a job, as submitit names them."""
    return folder / f"{job_id}_0_log.out", folder / f"{job_id}_0_log.err"
