"""`lmopt submit --dry-run`: the job scripts and what they would cost, with nothing submitted."""

from pathlib import Path

from slurm.durations import duration_text
from slurm.profile import Dependency, Kind, Profile
from slurm.submit import render
from sweeps.definition.sweep import SweepConfig
from sweeps.jobs.launch import worker_count, worker_jobs
from sweeps.preflight.cost import Counts, Estimate, estimate

# A job's title, its kind, and what it waits for; its number is Slurm's to give: names stand for it.
_JOBS: list[tuple[str, Kind, str, Dependency]] = [
    ("prepare", "prepare", "", "afterok"),
    ("worker", "worker", "PREPARE", "afterok"),
    ("finalize", "finalize", "WORKERS", "afterany"),
    ("guard", "finalize", "FINALIZE", "afternotok"),
    ("measure", "measure", "", "afterok"),
]


def render_run(sweep: SweepConfig, profile: Profile, path: Path, counts: Counts) -> str:
    """Return the scripts that submitting would hand to the scheduler, and the projected cost."""
    apart = bool(profile.measure.model_fields_set)
    parts = []
    for title, kind, after, dependency in _JOBS:
        if title != "measure" or apart:
            script = _script(sweep, profile, path, title, kind, after, dependency)
            parts.append(f"### {_heading(profile, title, kind)}\n{script}")
    cost = estimate(sweep, path.parent, counts)
    return "\n".join([*parts, f"### {projection(sweep, profile, cost)}"])


def _heading(profile: Profile, title: str, kind: Kind) -> str:
    """Return a job's title with its time limit, in minutes and as Slurm writes it."""
    time_min = (profile.guard() if title == "guard" else profile.job(kind)).time_min
    return title if time_min is None else f"{title}, at most {duration_text(time_min)}"


def _script(
    sweep: SweepConfig, profile: Profile, path: Path, title: str, kind: Kind, after: str,
    dependency: Dependency,
) -> str:  # fmt: skip
    resources = profile.guard() if title == "guard" else profile.job(kind)
    tasks = 1
    if kind == "worker":
        tasks = worker_count(sweep, profile, sweep.study.trials)
        limit = min(resources.array_parallelism, sweep.resources.workers)
        resources = resources.model_copy(update={"array_parallelism": limit})
    name = f"lmopt-{path.name}" + ("-guard" if title == "guard" else "")
    return render(
        profile, kind, folder=path / "jobs", name=name, tasks=tasks,
        after=[after] if after else [], dependency=dependency, resources=resources,
    )  # fmt: skip


def projection(sweep: SweepConfig, profile: Profile, cost: Estimate) -> str:
    """Return one line: what the trials would use, and at most what the jobs may be charged for."""
    used = "unknown" if cost.core_hours is None else f"about {cost.core_hours:.2g} core-hours"
    jobs = worker_jobs(sweep, profile, sweep.study.trials)
    worker = profile.job("worker")
    line = f"projected cost: {used} ({cost.basis})"
    if worker.time_min is None:
        return line
    limit = jobs * worker.cpus * worker.nodes * worker.time_min / 60
    return f"{line}; the time limits of the {jobs} worker jobs allow {limit:.3g}"
