"""The entry points of the jobs, which `launch` submits by name: each imports what its job needs."""

from slurm.profile import JobResources
from sweeps.jobs.failures import clear_end


def prepare_job(run_dir: str) -> None:
    """Make what every trial needs."""
    with clear_end():
        from sweeps.jobs.prepare import prepare_run

        prepare_run(run_dir)


def worker_job(run_dir: str, index: int, resources: JobResources) -> None:
    """Run trials until nothing is left for this worker."""
    with clear_end():
        from sweeps.jobs.worker import work

        work(run_dir, index, resources)


def finalize_job(run_dir: str, submitted_round: int) -> None:
    """Heal, submit another round if that is worth it, else finish the run."""
    with clear_end():
        from sweeps.jobs.finalizer import finalize

        finalize(run_dir, submitted_round)


def measure_job(run_dir: str) -> None:
    """Time the front's artifacts where the profile's `measure` section says."""
    with clear_end():
        from sweeps.jobs.front_timing import measure_front

        measure_front(run_dir)


def guard_job(run_dir: str, submitted_round: int, finalizer: str) -> None:
    """Replace a finalizer that did not come to its end."""
    with clear_end():
        from sweeps.jobs.guard import replace_finalizer

        replace_finalizer(run_dir, submitted_round, finalizer)
