"""Questions to Slurm: each function is one call of one command, however many jobs it is about."""

import contextlib
import getpass
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from slurm.errors import SchedulerError
from slurm.records import JOB_VARIABLE

# What names the cluster to talk to. All other SLURM_* describe the job that this process is in, and
# poison the jobs that it submits: sbatch and srun read them as options.
_CLIENT_VARIABLES = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_CONF_SERVER"})
_SILENT = re.compile(
    r"unable to contact slurm controller|socket timed out|connection refused|in standby|"
    r"transport endpoint|zero bytes|configuration source|"
    r"slurm_load_jobs error: (?!invalid job id)",
    re.IGNORECASE,
)
# Slurm refuses these jobs now and may take them later: https://slurm.schedmd.com/job_reason_codes.html
_FULL = re.compile(r"SubmitJob|MaxJobCount|resource temporarily|too many", re.IGNORECASE)
# Reasons that no waiting ends. DependencyNeverSatisfied is none of them: Slurm itself cancels such
# a job a moment later (`kill-on-invalid-dep`), as it does with each guard that was not needed.
_HOPELESS = re.compile(
    r"held|BadConstraints|PartitionTimeLimit|PartitionNodeLimit|InvalidAccount|InvalidQOS|"
    r"(Account|QOS)NotAllowed|Max(WallDuration|Cpu|Node|Mem|GRES)\w*PerJob",
    re.IGNORECASE,
)
_NODES = re.compile(r"\bnodes?\b")  # "Requested node configuration is not available"
_OVER = re.compile(r"invalid job id|already completing or completed", re.IGNORECASE)
# The one failure of squeue that is an answer: slurmctld has no such job.
_UNKNOWN = re.compile(r"invalid job id", re.IGNORECASE)
_ANSWER_TIMEOUT_S = 300.0  # Slurm's commands give up by themselves after a fraction of it.


class SilentControllerError(SchedulerError):
    """Slurm gave no answer. Nothing is known about any job; no job may be taken for dead."""


def job_variables() -> list[str]:
    """Names of the variables that a job submitted from inside a job must not inherit."""
    prefixes = ("SLURM_", "SUBMITIT_LOCAL_", JOB_VARIABLE)
    return [
        name for name in os.environ if name.startswith(prefixes) and name not in _CLIENT_VARIABLES
    ]


def _call(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a Slurm command. Raise SilentControllerError if it cannot run, hangs or is killed."""
    dropped = set(job_variables())
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=environment | {"SLURM_TIME_FORMAT": "%s"},
            timeout=_ANSWER_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise SilentControllerError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        said = f"{command[0]} gave no answer in {_ANSWER_TIMEOUT_S:.0f} s"
        raise SilentControllerError(said) from None
    except OSError as error:  # a stale file system, no memory for a process
        raise SilentControllerError(f"{command[0]} cannot run: {error}") from None
    if answer.returncode < 0:
        raise SilentControllerError(f"{command[0]} was ended by signal {-answer.returncode}")
    return answer


def _ask(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Answer to a Slurm command, which itself tries for some 10 s to reach a slurmctld.

    A command that fails with words of its own is an answer, which the caller judges. Raises
    SilentControllerError for every other failure.
    """
    answer = _call(command)
    if _SILENT.search(answer.stderr):
        raise SilentControllerError(one_line(answer.stderr))
    if answer.returncode and not answer.stderr.strip():
        raise _no_answer(command, answer)
    return answer


def _no_answer(
    command: Sequence[str], answer: "subprocess.CompletedProcess[str]"
) -> SilentControllerError:
    words = one_line(answer.stderr)
    said = f"{command[0]} failed with exit code {answer.returncode}"
    return SilentControllerError(f"{said}: {words}" if words else said)


def one_line(words: str) -> str:
    """Slurm's own words without the command's name in front of each line."""
    lines = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in words.splitlines()]
    return "; ".join(line for line in lines if line)


def array_id(job_id: str) -> str:
    return job_id.partition("_")[0]


def _arrays(job_ids: Iterable[str]) -> str:
    return ",".join(sorted({array_id(job_id) for job_id in job_ids}))


def queue_states(job_ids: Sequence[str]) -> dict[str, str]:
    """Slurm's states of the jobs that slurmctld still knows (for MinJobAge after they end).

    A job is missing in the answer only if slurmctld said that it does not know it. Raises
    SilentControllerError if squeue failed in any other way.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    answer = _ask([*command, f"--jobs={_arrays(job_ids)}"])
    if answer.returncode:
        if not _UNKNOWN.search(answer.stderr):
            raise _no_answer(command, answer)
        arrays = sorted({array_id(job_id) for job_id in job_ids})
        if len(arrays) > 1:  # The refusal of one job says nothing of the others.
            each = [queue_states([array]) for array in arrays]
            return {job_id: state for states in each for job_id, state in states.items()}
    lines = (line.strip().split("|", 2) for line in answer.stdout.splitlines())
    return {line[0]: _held(line[1], line[2]) for line in lines if len(line) == 3}


def _held(state: str, reason: str) -> str:
    """Return HELD for a job that waits until a person does something.

    Slurm holds a job after a failed start on a node, for example, or it asks for more than a limit
    allows.
    """
    return "HELD" if state == "PENDING" and _HOPELESS.search(reason) else state


Refusal = Literal["passing", "nodes", "request"]


def refusal_of(words: str) -> Refusal:
    """Return what Slurm's words on a refused job are about.

    "passing": it is away or the queue is full, and may take the job later; "nodes": no node fits;
    "request": anything else that the job asks for.
    """
    if _SILENT.search(words) or _FULL.search(words):
        return "passing"
    return "nodes" if _NODES.search(words) else "request"


def concerns_nodes(words: str) -> bool:
    """Whether Slurm refused a job because no node is as it asks for, or none is left to it."""
    return bool(re.search(r"\bnodes?\b", words, re.IGNORECASE))


def accounting_states(job_ids: Sequence[str]) -> dict[str, str]:
    """Slurm's states from its accounting; empty on a cluster without one."""
    rows = _sacct(["-X", "--format=JobID,State"], job_ids)
    return {job_id: state.split()[0] for job_id, state in rows if state}


def earlier_states(job_id: str) -> list[str]:
    """Slurm's states of the runs of one job, oldest first; empty without accounting."""
    rows = _sacct(["-X", "--duplicates", "--format=JobID,State"], [job_id])
    return [state.split()[0] for known, state in rows if known == job_id and state]


def accounting_cpu_seconds(job_ids: Sequence[str]) -> dict[str, int]:
    """Allocated CPUs × elapsed seconds, of all runs of each job; empty without accounting."""
    seconds = dict.fromkeys(job_ids, 0)
    rows = _sacct(["-X", "--duplicates", "--format=JobID,CPUTimeRAW"], job_ids)
    for job_id, value in rows:
        if job_id in seconds:
            seconds[job_id] += int(value)
    return seconds if rows else {}


def _sacct(options: list[str], job_ids: Sequence[str]) -> list[tuple[str, str]]:
    try:
        answer = _call(["sacct", "-nP", *options, f"--jobs={_arrays(job_ids)}"])
    except SilentControllerError:  # It only refines what squeue said.
        return []
    rows = (line.partition("|") for line in answer.stdout.splitlines())
    return [(job_id, value) for job_id, _, value in rows]


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """scancel; jobs that have already ended are no error.

    Raises SilentControllerError, and RuntimeError with Slurm's words for any other refusal.
    """
    if job_ids:
        words = _ask(["scancel", *job_ids]).stderr
        refused = [line for line in words.splitlines() if not _OVER.search(line)]
        if refused:
            raise SchedulerError(one_line("\n".join(refused)))


def time_limit(job_id: str) -> float | None:
    """When the job, this one, must end, in seconds since the epoch; None without a limit."""
    known = os.environ.get("SLURM_JOB_END_TIME")
    if known is None:
        try:
            known = _ask(["squeue", "--noheader", "--format=%e", f"--jobs={job_id}"]).stdout.strip()
        except SilentControllerError:
            return None
    return float(known) if known.isdigit() else None


@dataclass(frozen=True)
class ClusterFacts:
    """What the cluster allows; None is no limit."""

    max_array_size: int  # tasks of one array
    max_job_count: int  # of all users together
    max_submit_jobs: int | None  # of this user in the queue at one time
    preempt_type: str
    preempt_mode: str
    accounting: bool


def cluster_facts(account: str | None = None, qos: str | None = None) -> ClusterFacts:
    """Limits from `scontrol show config`, and from `sacctmgr` where the cluster keeps accounts.

    Raises SilentControllerError.
    """
    config = _config()
    accounting = "slurmdbd" in config.get("AccountingStorageType", "")
    return ClusterFacts(
        max_array_size=max(1, int(config["MaxArraySize"])),
        max_job_count=int(config["MaxJobCount"]),
        max_submit_jobs=_max_submit_jobs(account, qos) if accounting else None,
        preempt_type=config.get("PreemptType", ""),
        preempt_mode=config.get("PreemptMode", ""),
        accounting=accounting,
    )


def max_array_size() -> int:
    """How many tasks an array may have: one where MaxArraySize, at 0, switches arrays off."""
    return max(1, int(_config()["MaxArraySize"]))


def _config() -> dict[str, str]:
    command = ["scontrol", "show", "config"]
    answer = _ask(command)
    if answer.returncode:
        raise _no_answer(command, answer)
    lines = answer.stdout.splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _max_submit_jobs(account: str | None, qos: str | None) -> int | None:
    """The least limit of the account and the QOS: the user's own defaults where none is named."""
    user = getpass.getuser()
    account = account or _accounts("user", f"name={user}", "DefaultAccount").strip()
    where = [f"user={user}", *([f"account={account}"] if account else [])]
    qos = qos or _accounts("assoc", *where, "DefaultQOS").split("\n")[0] or "normal"
    limits = _accounts("assoc", *where, "MaxSubmitJobs,GrpSubmitJobs")
    limits += _accounts("qos", f"name={qos}", "MaxSubmitJobsPU,GrpSubmitJobs")
    return min((int(number) for number in re.findall(r"\d+", limits)), default=None)


def _accounts(what: str, *where_and_format: str) -> str:
    *where, columns = where_and_format
    command = ["sacctmgr", "-nP", "show", what, "where", *where, f"format={columns}"]
    with contextlib.suppress(SilentControllerError):  # No limit is known then.
        return _call(command).stdout
    return ""


def submission_room(account: str | None = None, qos: str | None = None) -> int | None:
    """How many more jobs this user may submit now; None where no limit is known."""
    limit = cluster_facts(account, qos).max_submit_jobs
    if limit is None:
        return None
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    answer = _ask(command)
    if answer.returncode:
        raise _no_answer(command, answer)
    return max(0, limit - len(answer.stdout.split()))


def why_refused(script: str) -> str | None:
    """Slurm's words on a job script that it would not take; None if it would. Submits nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        answer = _ask(["sbatch", "--test-only", file.name])
    return one_line(answer.stderr) if answer.returncode else None
