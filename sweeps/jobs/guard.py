"""What stands behind a finalizer: Slurm starts it if the finalizer fails, whatever ended it.

The finalizer heals everybody else and submits the next round; this small job heals the finalizer.
"""

import logging
from collections import Counter
from dataclasses import replace

from slurm.states import LIVE, JobState, known_states
from sweeps.jobs.context import this_job
from sweeps.jobs.failures import RunStoppedError
from sweeps.jobs.launch import launch_finalize, launch_guard, take_back
from sweeps.jobs.patience import ask_patiently, submit_patiently
from sweeps.run.directory import Run, open_run
from sweeps.run.rounds import Round, launch_lock, rounds, write_round
from sweeps.study import healing

log = logging.getLogger("lmopt")


def replace_finalizer(run_dir: str, number: int, finalizer: str) -> None:
    """Submit a finalizer again that was killed, cancelled or lost, with more of what it lacked.

    One that ended by an error of its own has said what is wrong, and would say it again.

    Raises RunStoppedError if it was lost more often than the profile's `retries` allow.
    """
    run, me = open_run(run_dir), this_job()
    state = ask_patiently(lambda: known_states([finalizer], run.jobs))[finalizer]
    log.info("finalizer %s ended as %s", finalizer, state)
    if state in LIVE:  # requeued by Slurm a moment ago
        submit_patiently(run, lambda: launch_guard(run, rounds(run)[number]))
        return
    if state in ("DONE", "FAILED"):
        return
    with launch_lock(run):
        part = _note_loss(run, number, finalizer, state)
        if part is None:
            log.info("somebody else does the rest")
            return
        take_back(run, number, me.job_id)
    lost = Counter(part.finalize_lost)
    if not healing.may_retry(run.profile.retries, lost):
        raise RunStoppedError(f"the finalizer was lost too often: {dict(lost)}; see 'lmopt logs'")
    submit_patiently(run, lambda: launch_finalize(run, part, after=[*part.workers, *part.measure]))


def _note_loss(run: Run, number: int, finalizer: str, state: JobState) -> Round | None:
    """Record what ended the finalizer; None if it was not the last one, or had done its work."""
    newer = rounds(run)[number + 1 :]
    part = rounds(run)[number]
    if (newer and newer[-1].whole) or part.finalize[-1:] not in ([], [finalizer]):
        return None
    cause = healing.cause_of(state)
    # A task that somebody cancels is tried again for ever, a finalizer is not: they may mean it.
    cause = "lost" if cause == healing.CANCELLED else cause
    part = replace(part, finalize_lost=[*part.finalize_lost, cause])
    write_round(run, part)
    return part
