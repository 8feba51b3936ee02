"""The worker job: run trials until none is left."""

import logging
import re
import traceback

from analysis.rows.table import read_rows
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.trial import run_recipe
from lmopt.training.trainer import DivergedError
from slurm.profile import JobResources
from slurm.records import Job
from sweeps.definition.errors import MISTAKES
from sweeps.disk.retention import prune_now_and_then, register
from sweeps.jobs.context import job_threads, this_job
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run, open_run
from sweeps.run.prepared import load_prepared
from sweeps.run.progress import ProgressFile
from sweeps.run.provenance import code_commit
from sweeps.study.attempt_rows import write_once
from sweeps.study.attempts import next_attempt
from sweeps.study.healing import tell_row
from sweeps.study.study import locked_study

log = logging.getLogger("lmopt")
_NO_MEMORY = re.compile(r"can't allocate memory|CUDA out of memory|OutOfMemoryError|bad_alloc")


def work(run_dir: str, index: int, resources: JobResources) -> None:
    """Run trials until nothing is left, the time runs out, or `trials_per_job` is reached."""
    run, job = open_run(run_dir), this_job()
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
            prune_now_and_then(run)
    finally:
        progress.close()


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
    """Run one attempt to its row: COMPLETE with numbers, or FAIL with the reason and no number.

    LOST if it ran out of memory without its job: a larger job takes it over. False if the attempt
    had been taken over meanwhile.
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
        result = {"state": "FAIL", "error": f"{type(error).__name__}: {error}"}
        if lacks_memory(error):
            hint = "; lower batch_size" if "CUDA" in str(error) else ""
            result = {"state": "LOST", "lost_cause": "out_of_memory"}
            result["error"] = f"out of memory: {error}{hint}"
    return record(
        run, claim, {**row.spent(claim, job), "log_path": row.log_path(run, job.job_id), **result}
    )


def lacks_memory(error: Exception) -> bool:
    """Whether a trial ended for want of memory, its own process's or a measuring one's.

    torch says so in a RuntimeError: of its own kind for CUDA, by its words alone for the CPU.
    """
    words = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(words)


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
