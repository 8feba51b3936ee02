"""Submission of a sweep's jobs: through submitit on Slurm, as processes here on local."""

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from slurm import commands as scheduler
from slurm import local
from slurm.errors import UserError
from slurm.files import ForeignFolderError
from slurm.job_process import RecordedCall
from slurm.profile import Dependency, JobResources, Kind, Profile
from slurm.states import cancel

# submitit's names: before Slurm gave a job its number, and after.
_SUBMISSION_FILE = re.compile(
    r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]{32}\.sh|[\d_]+_submi(tted\.pkl|ssion\.sh)"
)


class SubmissionError(UserError):
    """The scheduler refused the jobs, in its own words; nothing of the submission is left."""

    def __init__(self, message: str, refusal: scheduler.Refusal = "request") -> None:
        super().__init__(message)
        self.refusal = refusal


def submit(
    profile: Profile,
    kind: Kind,
    function: Callable[..., Any] | str,
    calls: Sequence[tuple[Any, ...]],
    *,
    folder: Path,
    name: str,
    after: Sequence[str] = (),
    dependency: Dependency = "afterok",
    resources: JobResources | None = None,
) -> list[str]:
    """Submit one job per call of `function` and return their ids at once, in the calls' order.

    `function` is a callable, or its dotted name "package.module:function", which only the jobs
    import.

    Several calls become job arrays, split where the cluster's MaxArraySize asks for it. The jobs
    wait for those in `after`: "afterok" for their success, "afterany" for their end, "afternotok"
    for their failure; a job whose dependency can no longer be met is CANCELLED. `folder` gets
    pickles, logs and records and must be on a file system that the nodes share. `resources` are
    `profile.job(kind)` if not given.

    Raises SubmissionError with Slurm's own words if any of the jobs is refused; then all of them
    are cancelled and no file of theirs is left.
    """
    from submitit import SlurmExecutor

    folder = _usable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    resources = resources or profile.job(kind)
    call = RecordedCall(function, folder, resources.requeue, tuple(resources.teardown))
    if profile.scheduler == "local":
        return _submit_local(call, calls, resources, folder, after, dependency)
    parameters = _parameters(resources, f"{name}-{kind}", folder, after, dependency)
    job_ids: list[str] = []
    try:
        with _without_traces(folder):
            for start, end in _arrays(len(calls), _tasks_per_array(profile, len(calls))):
                parameters["array_parallelism"] = _share(resources, start, end, len(calls))
                executor = SlurmExecutor(
                    folder, max_num_timeout=resources.timeout_requeues, python=_python(resources)
                )
                executor.update_parameters(**parameters)
                job_ids += _submit_array(executor, call, calls[start:end])
    except BaseException as error:
        with contextlib.suppress(RuntimeError):
            scheduler.cancel_jobs(job_ids)
        if not isinstance(error, RuntimeError):  # what submitit raises for a refused sbatch
            raise
        words = scheduler.one_line(str(error))
        raise SubmissionError(
            f"Slurm refused the {kind} jobs of {name}: {words}", scheduler.refusal_of(words)
        ) from None
    return job_ids


def render(
    profile: Profile,
    kind: Kind,
    *,
    folder: Path,
    name: str,
    tasks: int = 1,
    after: Sequence[str] = (),
    dependency: Dependency = "afterok",
    resources: JobResources | None = None,
) -> str:
    """The sbatch scripts that `submit` would hand to Slurm, one for each array; local: the command.

    Works without Slurm: then an array is split by the profile's `max_array_size` alone.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    folder = _usable(folder)
    resources = resources or profile.job(kind)
    if profile.scheduler == "local":
        return shlex.join(local.command("local-ID", resources, folder, after, dependency))
    parameters = _parameters(resources, f"{name}-{kind}", folder, after, dependency)
    command = f"{_python(resources)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    size = min(tasks, profile.max_array_size or tasks)
    with contextlib.suppress(scheduler.SilentControllerError):
        size = _tasks_per_array(profile, tasks)
    scripts = []
    for start, end in _arrays(tasks, size):
        parameters["array_parallelism"] = _share(resources, start, end, tasks)
        count = end - start if end - start > 1 else None
        scripts.append(_make_sbatch_string(command, folder, map_count=count, **parameters))
    return "\n\n".join(scripts)


def _submit_local(
    call: RecordedCall,
    calls: Sequence[tuple[Any, ...]],
    resources: JobResources,
    folder: Path,
    after: Sequence[str],
    dependency: Dependency,
) -> list[str]:
    from submitit.core.utils import DelayedSubmission, JobPaths, temporary_save_path

    if resources.cpus > len(local.machine_cores()):
        raise SubmissionError(
            f"cpus must be at most {len(local.machine_cores())} on this machine,"
            f" got {resources.cpus}: lower it in the profile"
        )
    try:
        local.cores_folder()
    except ForeignFolderError as error:
        raise SubmissionError(str(error)) from None
    job_ids = local.new_job_ids(len(calls))
    for job_id, args in zip(job_ids, calls, strict=True):
        with temporary_save_path(JobPaths(folder, job_id).submitted_pickle) as path:
            DelayedSubmission(call, *args).dump(path)
    try:
        for job_id in job_ids:
            local.start(job_id, resources, folder, after, dependency)
    except BaseException:  # no more processes, for one
        cancel(job_ids, folder)
        raise
    return job_ids


def _submit_array(executor: Any, call: RecordedCall, calls: Sequence[tuple[Any, ...]]) -> list[str]:
    # submitit prints Slurm's words as well as raising them.
    with _clean_environment(), contextlib.redirect_stderr(io.StringIO()):
        with executor.batch():
            jobs = [executor.submit(call, *args) for args in calls]
        return [job.job_id for job in jobs]


def _parameters(
    resources: JobResources,
    name: str,
    folder: Path,
    after: Sequence[str],
    dependency: Dependency,
) -> dict[str, Any]:
    """submitit's names and values for the resources (submitit/slurm/slurm.py)."""
    exports = {"PYTHONSAFEPATH": "1"} | resources.environment
    shell = "" if _with_srun(resources) else "B:"  # whose place the job has taken
    further: dict[str, Any] = {"signal": f"{shell}USR2@{resources.signal_delay_s}"}
    further["requeue" if resources.requeue else "no-requeue"] = True
    if after:
        further["dependency"] = f"{dependency}:{':'.join(_whole_arrays(after, folder))}"
        further["kill-on-invalid-dep"] = "yes"  # or a job waits for ever on one that failed
    further |= {key: value for key, value in resources.sbatch.items() if value is not False}
    return {
        "job_name": name,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "time": resources.time_min,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "mem": None if resources.mem_gb is None else f"{round(resources.mem_gb * 1024)}M",
        "gpus_per_node": resources.gpus or None,
        "gres": resources.gres,
        "constraint": resources.constraint,
        "exclude": resources.exclude,
        "wckey": resources.wckey,
        "setup": ["trap '' USR2"]  # until Python has its own handler: the default is death
        + [f"export {key}={shlex.quote(value)}" for key, value in exports.items()]
        + resources.setup,
        "use_srun": _with_srun(resources),
        # Since Slurm 22.05 srun no longer takes sbatch's --cpus-per-task for its own.
        "srun_args": [f"--cpus-per-task={resources.cpus}"],
        "additional_parameters": further,
    }


def _with_srun(resources: JobResources) -> bool:
    """Say whether a job needs srun; on one node it does not.

    Without srun the job's state tells of a lack of memory, which srun makes a failure of its own.
    """
    return resources.nodes > 1


def _python(resources: JobResources) -> str:
    # In the shell's place, so that Slurm's signals reach it.
    return ("" if _with_srun(resources) else "exec ") + shlex.quote(sys.executable)


def _tasks_per_array(profile: Profile, tasks: int) -> int:
    limit = min(tasks, profile.max_array_size or tasks)
    return min(limit, scheduler.max_array_size()) if limit > 1 else 1


def _arrays(tasks: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, tasks)) for start in range(0, tasks, size)]


def _share(resources: JobResources, start: int, end: int, tasks: int) -> int:
    """Tasks of one array that run at once, so that those of all arrays are what was asked for."""
    limit = min(resources.array_parallelism, tasks)
    return max(1, limit * end // tasks - limit * start // tasks)


def _whole_arrays(job_ids: Sequence[str], folder: Path) -> list[str]:
    """Dependencies with an array's id in place of all its tasks': Slurm's line is not endless."""
    tasks: dict[str, list[str]] = {}
    for job_id in job_ids:
        tasks.setdefault(scheduler.array_id(job_id), []).append(job_id)
    named: list[str] = []
    for array, ids in tasks.items():
        submitted = len(list(folder.glob(f"{array}_*_submitted.pkl")))
        named += [array] if len(set(ids)) == submitted else ids
    return named


def _usable(folder: Path) -> Path:
    folder = Path(folder).expanduser().absolute()
    if "%" in str(folder) or "\n" in str(folder):
        raise SubmissionError(
            f"the folder of a run must hold no % and no newline, got {str(folder)!r}:"
            " Slurm replaces % in the names of logs; choose another name"
        )
    return folder


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Without the variables of the job that submits; submitit runs sbatch in os.environ."""
    dropped = {name: os.environ.pop(name) for name in scheduler.job_variables()}
    try:
        yield
    finally:
        os.environ.update(dropped)


@contextlib.contextmanager
def _without_traces(folder: Path) -> Iterator[None]:
    """Remove what submitit leaves in `folder` of a submission that failed."""
    from filelock import FileLock

    with FileLock(folder / ".submit.lock"):
        before = {path.name for path in folder.iterdir()}
        try:
            yield
        except BaseException:
            for path in folder.iterdir():
                if path.name not in before and _SUBMISSION_FILE.fullmatch(path.name):
                    path.unlink()
            raise
