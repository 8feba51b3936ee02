"""The job that this process is; without torch, for a guard lives a second."""

import logging
import sys

from slurm.records import Job, current_job


def this_job() -> Job:
    """Return the job that this process belongs to, and let its log be written."""
    job = current_job()
    assert job is not None, "job functions run inside a job"
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
    return job


def job_threads(job: Job) -> int:
    """Return how many threads a job may use: not every cluster binds a job to its cores."""
    return max(1, min(len(job.cores), job.cpus))
