"""`lmopt submit --dry-run`: the job scripts and what they would cost, with nothing submitted."""

from pathlib import Path

from slurm.profile import Dependency, Kind, Profile
from slurm.submit import render
from sweeps.config import SweepConfig
from sweeps.estimate import Estimate, estimate
from sweeps.launch import worker_jobs

# A job's number is Slurm's to give: these stand for it.
_AFTER: dict[Kind, tuple[str, Dependency]] = {
    "worker": ("PREPARE", "afterok"),
    "finalize": ("WORKERS", "afterany"),
}


def render_run(sweep: SweepConfig, profile: Profile, path: Path) -> str:
    """Return the scripts that submitting would hand to the scheduler, and the projected cost."""
    kinds: list[Kind] = ["prepare", "worker", "finalize"]
    if profile.measure.model_fields_set:
        kinds.append("measure")
    parts = [_script(sweep, profile, path, kind) for kind in kinds]
    return "\n".join([*parts, f"### {projection(sweep, profile, estimate(sweep, path.parent))}"])


def _script(sweep: SweepConfig, profile: Profile, path: Path, kind: Kind) -> str:
    resources = profile.job(kind)
    tasks = 1
    if kind == "worker":
        tasks = worker_jobs(sweep, profile, sweep.study.trials)
        limit = min(resources.array_parallelism, sweep.resources.workers)
        resources = resources.model_copy(update={"array_parallelism": limit})
    after, dependency = _AFTER.get(kind, ("", "afterok"))
    text = render(
        profile, kind, folder=path / "jobs", name=f"lmopt-{path.name}", tasks=tasks,
        after=[after] if after else [], dependency=dependency, resources=resources,
    )  # fmt: skip
    return f"### {kind}\n{text}"


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
