"""The submissions of a run: which jobs each has, what became of them, and what ended them early."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from slurm.records import read_exit, read_start
from slurm.states import LIVE, AskStates, JobState, job_states
from sweeps.run.directory import Run
from sweeps.run.files import quoted, read_json, write_json
from sweeps.run.locks import locked

_SUBMITTED = "_submitted.pkl"  # submitit's, of every job
LAUNCH_TIMEOUT_S = 120
JOB_KINDS = ("prepare", "workers", "measure", "finalize", "guards")


@dataclass(frozen=True)
class Round:
    """The jobs of one submission; healing and `resume` add rounds to a run.

    A guard starts if the finalizer before it did not come to its end, and submits it again.
    """

    number: int
    prepare: list[str]
    workers: list[str]
    finalize: list[str]
    submitted_utc: str
    reason: str = "submit"
    grown: dict[str, Any] = field(default_factory=dict)
    guards: list[str] = field(default_factory=list)
    measure: list[str] = field(default_factory=list)  # where the profile has a section for it
    prepare_lost: str = ""  # what ended its prepare job, other than an error of its own
    workers_lost: str = ""  # what ended its workers, if none of them came to start a trial
    finalize_lost: list[str] = field(default_factory=list)  # what ended its finalizers early
    measure_lost: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> list[str]:
        return [job for kind in JOB_KINDS for job in getattr(self, kind)]

    @property
    def whole(self) -> bool:
        """Whether all its jobs are in the queue; False if its submitter was killed."""
        return bool(self.guards)


def rounds(run: Run) -> list[Round]:
    """Return the submissions of a run, oldest first."""
    found = [read_json(path) for path in sorted(run.path.glob("rounds/*.json"))]
    return [Round(**values) for values in found if values]


def write_round(run: Run, submitted: Round) -> None:
    """Record a submission."""
    (run.path / "rounds").mkdir(exist_ok=True)
    write_json(run.path / "rounds" / f"{submitted.number:04d}.json", asdict(submitted))


def forget_round(run: Run, number: int) -> None:
    """Take a submission back that did not come to be."""
    (run.path / "rounds" / f"{number:04d}.json").unlink(missing_ok=True)


def prepare_losses(run: Run, *, since_resume: bool = False) -> Counter[str]:
    """Return how often prepare jobs were lost, by cause; in all, or since a person resumed."""
    parts = _since_resume(run) if since_resume else rounds(run)
    return Counter(part.prepare_lost for part in parts if part.prepare_lost)


def worker_losses(run: Run, *, since_resume: bool = False) -> Counter[str]:
    """Return how often the workers of a round were lost before any trial ended, by cause."""
    parts = _since_resume(run) if since_resume else rounds(run)
    return Counter(part.workers_lost for part in parts if part.workers_lost)


def _since_resume(run: Run) -> list[Round]:
    parts = rounds(run)
    resumed = [index for index, part in enumerate(parts) if part.reason == "resume"]
    return parts[resumed[-1] if resumed else 0 :]


def bad_nodes(run: Run, jobs: Iterable[str]) -> set[str]:
    """Return the nodes of jobs that said themselves that nothing works there."""
    ended = [job for job in jobs if (exit := read_exit(job, run.jobs)) and exit.left_its_place]
    started = [read_start(job, run.jobs) for job in ended]
    return {job.node for job in started if job is not None and job.node}


def live_jobs(run: Run, ask: AskStates | None = None) -> dict[str, JobState]:
    """Return the jobs of a run that wait or run now. One scheduler query.

    All that were ever submitted are asked for, those too whose round was never recorded because
    its submitter was killed. While Slurm is silent each job counts as alive; with `known_states`
    for `ask` that is an error.
    """
    ids = sorted(path.name.removesuffix(_SUBMITTED) for path in run.jobs.glob(f"*{_SUBMITTED}"))
    states = (ask or job_states)(ids, run.jobs) if ids else {}
    return {job: state for job, state in states.items() if state in LIVE}


def round_states(
    run: Run, on_silence: Callable[[str], None] = lambda _: None
) -> dict[str, JobState]:
    """Return the state of every job of every round. One scheduler query, as `job_states` says.

    A guard counts while it waits for an unfinished run, or if it failed: one that was not needed
    is cancelled by Slurm, which says nothing of the run.
    """
    submitted = rounds(run)
    ids = [job for part in submitted for job in part.jobs]
    guards = {job for part in submitted for job in part.guards}
    states = job_states(ids, run.jobs, on_silence) if ids else {}
    finished = (run.path / "finished.json").exists()
    return {
        job: state
        for job, state in states.items()
        if job not in guards or state == "FAILED" or (state in LIVE and not finished)
    }


def why_idle(run: Run, states: Mapping[str, JobState]) -> str | None:
    """Return why a run that is not finished needs somebody, and the command; None if it does not.

    One that waits for a job which Slurm holds needs them as much as one without a live job.
    """
    held = [job for job, state in states.items() if state == "HELD"]
    if held:
        return (
            f"Slurm holds job {held[0]}: 'scontrol show job {held[0]}' says why,"
            f" 'scontrol release {held[0]}' lets it go on; if it asks for too much, 'lmopt cancel"
            f" {quoted(run.path)}', lower {run.path / 'profile.yaml'} and 'lmopt resume"
            f" {quoted(run.path)}'"
        )
    submitted = rounds(run)
    if any(state in LIVE for state in states.values()):
        return None
    here = quoted(run.path)
    remedy = f"go on with 'lmopt resume {here}'"
    if submitted and (failed := _failed_prepare(run, submitted[-1], states)):
        return (
            f"{failed}; 'lmopt resume' would meet it again: mend the cause first ('lmopt logs"
            f" {here}' says more), or submit a corrected sweep under another name; then 'lmopt"
            f" resume {here}'"
        )
    if not submitted:
        return f"no job was submitted; {remedy}"
    return f"{_last_words(run, submitted[-1], states)}; {remedy}"


def _failed_prepare(run: Run, last: Round, states: Mapping[str, JobState]) -> str | None:
    """Return which prepare job ended by an error of its own, and by which; None if it did not."""
    for job in last.prepare:
        if states.get(job) == "FAILED":
            ended = read_exit(job, run.jobs)
            error = ended.error if ended is not None and ended.error else "an error"
            return f"the prepare job {job} failed with {error}"
    return None


def _last_words(run: Run, last: Round, states: Mapping[str, JobState]) -> str:
    for job in last.jobs:
        ended = read_exit(job, run.jobs)
        if ended is not None and ended.error and job in states:
            return f"job {job}: {ended.error}"
    for kind, ids in (("finalize", last.finalize[-1:]), ("prepare", last.prepare)):
        for job in ids:
            return f"the {kind} job {job} ended as {states.get(job, 'LOST')}"
    return "its submission was interrupted"


@contextmanager
def launch_lock(run: Run) -> Iterator[None]:
    """Hold the right to submit jobs for a run."""
    with locked(run.path / "launch.lock", LAUNCH_TIMEOUT_S):
        yield
