"""The worker job: run trials until none is left."""

import logging
import traceback

from analysis.rows.table import read_rows
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.trial import run_recipe
from lmopt.training.trainer import DivergedError
from slurm.job_process import Stopped
from slurm.profile import JobResources
from slurm.records import Job
from sweeps.definition.errors import MISTAKES
from sweeps.disk.retention import prune_now_and_then, register
from sweeps.jobs.context import job_threads, this_job
from sweeps.jobs.failures import RunStoppedError, result_of
from sweeps.jobs.streaks import PLACE_STREAK, is_bad_place, why_failing
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run, open_run
from sweeps.run.prepared import load_prepared
from sweeps.run.progress import ProgressFile
from sweeps.run.provenance import code_commit
from sweeps.study.attempt_rows import read_attempt, write_once
from sweeps.study.attempts import next_attempt
from sweeps.study.healing import tell_row
from sweeps.study.study import locked_study

log = logging.getLogger("lmopt")


def work(run_dir: str, index: int, resources: JobResources) -> None:
    """Run trials until nothing is left, the time runs out, or `trials_per_job` is reached.

    Raises:
        RunStoppedError: `study.max_failures` trials in a row failed.
        Stopped: Nothing works on this node.
    """
    run, job = open_run(run_dir), this_job()
    if why := why_failing(run):
        raise RunStoppedError(why)
    code_commit()  # Asked now, not inside the study's lock.
    progress = ProgressFile(run, job.job_id, "worker")
    limit = run.profile.trials_per_job
    done = 0
    try:
        prepared = load_prepared(run, job_threads(job), progress)
        register(run, prepared)  # Its artifacts may have been made again since.
        while limit is None or done < limit:
            # The first trial always starts: a long one would never be run otherwise.
            if done and not _time_suffices(run, job, resources):
                log.info("not enough time left for one more trial")
                break
            claim = next_attempt(run, job, resources, worker=index)
            if claim is None:
                break
            progress.start(claim.number)
            if not run_attempt(run, prepared, claim, job, progress):
                break  # this job counts as dead: whatever it did from now on would be dropped
            done += 1
            _stop_if_in_vain(run, job, claim)
            prune_now_and_then(run)
    finally:
        progress.close()


def _stop_if_in_vain(run: Run, job: Job, claim: Claim) -> None:
    """End this job if the attempt that ended was one of too many in a row that came to nothing.

    Raises:
        RunStoppedError: The trials of the sweep fail; the finalizer says so too.
        Stopped: This node is left to others: the next round stays away from it.
    """
    ended = read_attempt(run, claim.number, claim.attempt) or {}
    if ended.get("state") == "FAIL" and (why := why_failing(run)):
        raise RunStoppedError(why)
    if ended.get("lost_cause") == "place" and is_bad_place(run, job):
        raise Stopped("PLACE_FAIL", f"{PLACE_STREAK} attempts in a row, the last: {ended['error']}")


def _time_suffices(run: Run, job: Job, resources: JobResources) -> bool:
    """Whether the longest trial so far would still end before Slurm's warning of the time limit."""
    left_s = job.seconds_left()
    if left_s is None:
        return True
    rows = read_rows(run.path)
    seconds = rows.loc[rows["state"] == "COMPLETE", "seconds_total"].max()
    return not seconds > left_s - resources.signal_delay_s  # no trial yet (NaN): start one


def run_attempt(
    run: Run,
    prepared: Prepared,
    claim: Claim,
    job: Job,
    progress: ProgressFile,
) -> bool:
    """Run one attempt to its row: COMPLETE with numbers, else with the reason and no number.

    An error that is not the trial's own, a lack of memory or trouble of the place, leaves it LOST:
    another job takes it over. Return False if the attempt had been taken over meanwhile.
    """
    log.info(
        "trial %d attempt %d: %s", claim.number, claim.attempt, claim.params or claim.reference
    )
    try:
        outcome = run_recipe(
            prepared,
            run.sweep.recipe_type(**claim.recipe),
            cache=run.cache,
            threads=job_threads(job),
            progress=progress,
        )
        result: row.Row = {"state": "COMPLETE", **row.measured(prepared, outcome)}
        result["timed_alone"] = False
    except DivergedError as error:
        result = {"state": "FAIL", "error": f"diverged: {error}"}
    except MISTAKES as error:  # a recipe that the model or the runtime refuses
        result = {"state": "FAIL", "error": str(error)}
    except Exception as error:  # a failed trial is a result too; the sweep goes on
        traceback.print_exc()
        result = result_of(error)
    return record(
        run, claim, {**row.spent(claim, job), "log_path": row.log_path(run, job.job_id), **result}
    )


def record(run: Run, claim: Claim, result: row.Row) -> bool:
    """Write the row, then tell Optuna; only while this attempt still owns its trial."""
    with locked_study(run) as study:
        if not claims.owns(run, claim):
            log.warning("trial %d was taken over; this attempt's result is dropped", claim.number)
            return False
        values = {**row.identity(run, claim), **result}
        values["feasible"] = row.is_feasible(values, run.sweep.constraints)
        if not write_once(run, values):
            log.warning("trial %d was given up; this attempt's result is dropped", claim.number)
            return False
        if values["state"] != "LOST":
            tell_row(run, study, values)
    return True
