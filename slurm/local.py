"""The local scheduler: jobs as processes of this machine, with Slurm's semantics.

A job outlives the process and the terminal that submitted it, waits for the jobs that it depends
on, and for cores of its own, which it is pinned to. A core is a file that its user holds locked:
the kernel frees it whatever ends the job, and all sweeps of a user on a machine share the files.

submitit's LocalExecutor is not used: its jobs stay in the terminal's session, know no dependencies,
run at once however many there are, and are named by a process id, which is used again. The jobs
here are in submitit's own format and are run by `submitit.core._submit`.
"""

import argparse
import fcntl
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from slurm.commands import job_variables
from slurm.files import open_lock_file, private_folder
from slurm.process import LOCAL_ID_VARIABLE, start_time
from slurm.profile import Dependency, JobResources
from slurm.records import Exit, Job, write_record
from slurm.states import is_over, job_states, log_paths

_CORES_VARIABLE = "LMOPT_CORES"
_POLL_SECONDS = 0.5


def machine_cores() -> list[int]:
    """Cores that local jobs may use: those of the first submitter, not of a pinned job."""
    named = os.environ.get(_CORES_VARIABLE)
    return [int(core) for core in named.split(",")] if named else sorted(os.sched_getaffinity(0))


def new_job_ids(count: int) -> list[str]:
    """Ids of an array of jobs; unlike Slurm's they start with a letter."""
    array = f"local-{secrets.token_hex(4)}"
    return [array] if count == 1 else [f"{array}_{index}" for index in range(count)]


def command(
    job_id: str, resources: JobResources, folder: Path, after: Sequence[str], dependency: str
) -> list[str]:
    """The job's command line, after the profile's setup lines."""
    job = [sys.executable, "-u", "-m", "slurm.local", str(folder), job_id]
    job += ["--cpus", str(resources.cpus), "--dependency", dependency, "--after", *after]
    if not resources.setup:
        return job
    return ["bash", "-c", "\n".join([*resources.setup, f"exec {shlex.join(job)}"])]


def start(
    job_id: str, resources: JobResources, folder: Path, after: Sequence[str], dependency: str
) -> None:
    """Start the job's process; its pickle must be in `folder`. Returns at once."""
    cores = machine_cores()
    dropped = set(job_variables())
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= resources.environment
    environment |= {
        "PYTHONSAFEPATH": "1",  # a stray module in the working directory shadows nothing
        "SUBMITIT_EXECUTOR": "local",
        LOCAL_ID_VARIABLE: job_id,
        _CORES_VARIABLE: ",".join(map(str, cores)),
    }
    out, err = log_paths(job_id, folder)
    with out.open("a") as stdout, err.open("a") as stderr:
        process = subprocess.Popen(
            command(job_id, resources, folder, after, dependency),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    # The job replaces this record as it starts; until then it says that somebody is waiting.
    waiting = Job(
        job_id=job_id,
        scheduler="local",
        folder=str(folder),
        pid=process.pid,
        pid_started=start_time(process.pid) or time.time(),
        host=socket.gethostname(),
        node=socket.gethostname(),
        cores=(),
        cpus=resources.cpus,
        restarts=0,
        started=None,
        end_time=None,
    )
    write_record(waiting, folder, replace=False)


def failed_dependency(after: Sequence[str], folder: Path, dependency: str) -> str | None:
    """Wait until all jobs are over, or one ended as the dependency does not allow: say which."""
    waiting = list(after)
    while waiting:
        states = job_states(waiting, folder)
        for job_id, state in states.items():
            if is_over(state) and dependency == ("afternotok" if state == "DONE" else "afterok"):
                return f"{job_id} ended as {state}"
        waiting = [job_id for job_id in waiting if not is_over(states[job_id])]
        if waiting:
            time.sleep(_POLL_SECONDS)
    return None


def cores_folder() -> Path:
    """Folder of the cores' files, which all sweeps of a user on this machine share.

    Raises ForeignFolderError.
    """
    return private_folder(Path(tempfile.gettempdir()) / f"lmopt-cores-{os.getuid()}")


def take_cores(count: int) -> tuple[list[int], list[int]]:
    """Wait for `count` free cores; they are held while the descriptors that are returned are open.

    One job collects cores at a time: two half-served jobs would wait for each other for ever, and
    a wide job would starve behind narrow ones.
    """
    folder = cores_folder()
    held: dict[int, int] = {}
    queue = open_lock_file(folder / "queue.lock")
    try:
        fcntl.flock(queue, fcntl.LOCK_EX)
        while True:
            for core in machine_cores():
                if core not in held and len(held) < count and (file := _lock_core(folder, core)):
                    held[core] = file
            if len(held) == count:
                return sorted(held), list(held.values())
            time.sleep(_POLL_SECONDS / 5)
    finally:
        os.close(queue)


def _lock_core(folder: Path, core: int) -> int | None:
    """Lock the file of a core and return it, open; None if another job has the core."""
    file = open_lock_file(folder / f"{core}.lock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slurm.local")
    parser.add_argument("folder", type=Path)
    parser.add_argument("job_id")
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--dependency", choices=get_args(Dependency), required=True)
    parser.add_argument("--after", nargs="*", default=[])
    options = parser.parse_args()
    failed = failed_dependency(options.after, options.folder, options.dependency)
    if failed:
        needed = options.dependency != "afternotok"
        error = f"{'dependency failed' if needed else 'not needed'}: {failed}"
        exit = Exit(options.job_id, "CANCELLED", error, 0, time.time(), 0.0, 0.0, 0)
        write_record(exit, options.folder)
        sys.exit(error if needed else 0)
    cores, _ = take_cores(options.cpus)  # The files stay open until the process ends.
    os.sched_setaffinity(0, cores)

    from submitit.core.submission import process_job

    process_job(options.folder)


if __name__ == "__main__":
    main()
