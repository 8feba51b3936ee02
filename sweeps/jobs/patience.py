"""Questions and submissions from inside a job, where no person is there to try again."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from slurm.commands import SilentControllerError
from slurm.submit import SubmissionError
from sweeps.run.directory import Run
from sweeps.run.rounds import launch_lock

log = logging.getLogger("lmopt")
SUBMISSION_WAITS_S = (10, 30, 60, 120, 300, 600)
Result = TypeVar("Result")


def ask_patiently(action: Callable[[], Result]) -> Result:
    """Repeat an action that needs an answer of Slurm until there is one; it is safe to repeat.

    Raises SilentControllerError after some 20 minutes.
    """
    for wait_s in SUBMISSION_WAITS_S:
        try:
            return action()
        except SilentControllerError as error:
            log.warning("%s; once more in %d s", error, wait_s)
            time.sleep(wait_s)
    return action()


def submit_patiently(
    run: Run,
    submit: Callable[[], Result],
    *,
    refused: Callable[[SubmissionError], None] | None = None,
) -> Result:
    """Submit also if slurmctld is away or the queue is full for the moment.

    `refused` may change what is submitted next. Raises SubmissionError after some 20 minutes.
    """
    for wait_s in (*SUBMISSION_WAITS_S, None):
        try:
            with launch_lock(run):
                return submit()
        except SubmissionError as error:
            if wait_s is None:
                raise
            log.warning("%s; once more in %d s", error, wait_s)
            if refused is not None:
                refused(error)
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")
