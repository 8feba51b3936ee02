"""What a job runs: the sweep's function between a start record and an exit record."""

import importlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from slurm.commands import time_limit
from slurm.process import start_time
from slurm.records import (
    Exit,
    ExitState,
    Job,
    enter_job,
    exit_path,
    last_seen,
    read_exit,
    read_start,
    start_path,
    write_record,
)

HEARTBEAT_SECONDS = 10.0
_ERROR_CHARACTERS = 500


class Stopped(SystemExit):
    """Ends a job with a state and a line of its own in the exit record.

    It is no Exception, so that no trial takes it for its own failure.
    """

    def __init__(self, state: ExitState, error: str) -> None:
        super().__init__(error)
        self.state = state


@dataclass
class RecordedCall:
    """The callable that submitit pickles. What `function` returns is dropped: results are files.

    `function` may be the dotted name of one, "package.module:function": then nothing but the job
    itself imports the module.

    submitit requeues a job that Slurm warns (`--signal`) if its callable has a `checkpoint` method
    that returns something (submitit/core/job_environment.py). A requeue by Slurm itself asks nobody
    and starts from the same pickle: `function` continues from what it left on disk.
    """

    function: Callable[..., Any] | str
    folder: Path
    requeue: bool
    teardown: tuple[str, ...] = ()  # shell lines
    _requeued: bool = False

    def __call__(self, *args: Any) -> None:
        import submitit

        environment = submitit.JobEnvironment()
        if environment.global_rank != 0:  # a job of several nodes is one job: its first task's
            return
        job = _start(environment, self.folder)
        self._catch_signals(job)
        threading.Thread(target=_beat, args=(job,), daemon=True).start()
        try:
            resolve(self.function)(*args)
        except BaseException as error:
            self._end(job, *_cause(error))
            raise
        self._end(job, "DONE", None)

    def _end(self, job: Job, state: ExitState, error: str | None) -> None:
        # What fails in the teardown has no say in how the job ended; its words are in the log.
        if self.teardown:
            subprocess.run(["bash", "-c", "\n".join(self.teardown)], check=False)
        if not self._requeued and _is_latest(job):
            _write_exit(job, state, error)

    def checkpoint(self, *args: Any) -> Any:
        from submitit.core.utils import DelayedSubmission

        if not self.requeue:
            return None
        self._requeued = True
        return DelayedSubmission(replace(self, _requeued=False), *args)

    def _catch_signals(self, job: Job) -> None:
        warn: Any = signal.getsignal(signal.SIGUSR2)  # submitit's

        deciding, terminating = False, False

        def terminated(signum: int, frame: FrameType | None) -> None:
            nonlocal terminating
            terminating = True
            if deciding:  # its own requeue sends this too, and is not to be interrupted
                return
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            left = job.seconds_left()
            if left is not None and left <= 1:
                raise Stopped("TIMEOUT", "ended by Slurm at its time limit")
            raise Stopped("CANCELLED", "ended by SIGTERM")

        def warned(signum: int, frame: FrameType | None) -> None:
            nonlocal deciding
            deciding = True
            try:
                warn(signum, frame)  # requeues the job and exits, or says why it does not
            except Exception as error:
                print(error, flush=True)
            self._requeued = deciding = False
            if terminating:
                terminated(signum, frame)

        self._requeued = False
        _wake_main_thread()
        signal.signal(signal.SIGTERM, terminated)
        if callable(warn):
            signal.signal(signal.SIGUSR2, warned)


def resolve(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return the function that a dotted name "package.module:function" stands for."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _wake_main_thread() -> None:
    """Let every signal interrupt the main thread, whichever thread the kernel gives it to.

    Handlers run in the main thread, and it sleeps or waits on where another one took the signal:
    the job would end by SIGKILL without a word. SIGURG, which nobody uses, interrupts it.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGURG, lambda signum, frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def wake() -> None:
        while taken := os.read(reader, 1):
            if taken[0] != signal.SIGURG:
                signal.pthread_kill(main_thread, signal.SIGURG)

    threading.Thread(target=wake, daemon=True).start()


def _start(environment: Any, folder: Path) -> Job:
    """Write the start record; a requeued job's earlier run is added up and its exit forgotten."""
    job_id: str = environment.job_id
    on_slurm = environment.cluster == "slurm"
    pid_started, before = start_time(os.getpid()) or time.time(), read_start(job_id, folder)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    job = Job(
        job_id=job_id,
        scheduler=environment.cluster,
        folder=str(folder),
        pid=os.getpid(),
        pid_started=pid_started,
        host=socket.gethostname(),
        node=os.environ.get("SLURMD_NODENAME", "") if on_slurm else socket.gethostname(),
        cores=cores,
        cpus=_allocated_cpus() if on_slurm else len(cores),
        restarts=int(os.environ.get("SLURM_RESTART_COUNT", 0)) if on_slurm else 0,
        started=pid_started if on_slurm else time.time(),
        end_time=time_limit(job_id) if on_slurm else None,
        earlier_seconds=_elapsed_before(before, folder) if before and on_slurm else 0.0,
    )
    exit_path(job_id, folder).unlink(missing_ok=True)
    write_record(job, folder)
    enter_job(job)
    return job


def _elapsed_before(before: Job, folder: Path) -> float:
    exit = read_exit(before.job_id, folder)
    assert before.started is not None
    if exit is not None and exit.restarts == before.restarts:
        return before.earlier_seconds + exit.elapsed_seconds
    return before.earlier_seconds + last_seen(before.job_id, folder) - before.started


def _allocated_cpus() -> int:
    # As in "4(x2),3": four CPUs on two nodes and three on another.
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", os.environ.get("SLURM_JOB_CPUS_PER_NODE", "1"))
    return sum(int(cpus) * int(nodes or 1) for cpus, nodes in counts)


def _is_latest(job: Job) -> bool:
    """False in a run that Slurm has given up, with its node, and started again elsewhere."""
    return read_start(job.job_id, Path(job.folder)) == job


def _beat(job: Job) -> None:
    while _is_latest(job):
        os.utime(start_path(job.job_id, Path(job.folder)))
        time.sleep(HEARTBEAT_SECONDS)


def _cause(error: BaseException) -> tuple[ExitState, str | None]:
    if isinstance(error, Stopped):
        return error.state, str(error)
    if isinstance(error, SystemExit) and not error.code:
        return "DONE", None
    if isinstance(error, KeyboardInterrupt):
        return "CANCELLED", "KeyboardInterrupt"
    line = " ".join("".join(traceback.format_exception_only(error)).split())
    return "FAILED", line[:_ERROR_CHARACTERS]


def _write_exit(job: Job, state: ExitState, error: str | None) -> None:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    now = time.time()
    assert job.started is not None
    record = Exit(
        job_id=job.job_id,
        state=state,
        error=error,
        restarts=job.restarts,
        ended=now,
        elapsed_seconds=now - job.started,
        cpu_seconds=sum(use.ru_utime + use.ru_stime for use in usage),
        max_rss_bytes=max(use.ru_maxrss for use in usage) * 1024,
    )
    write_record(record, Path(job.folder))
