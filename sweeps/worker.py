"""What the jobs of a sweep do: prepare once, then run trials in every worker."""

import logging
import re
import traceback
from datetime import UTC, datetime, timedelta

from analysis.results import read_rows, write_row
from lmopt.config import Recipe
from lmopt.data import Data
from lmopt.linear import LinearOutcome, linear_baseline
from lmopt.pipeline import Prepared, extra_texts, prepare, read_task, run_recipe
from lmopt.stages import Walk
from lmopt.training import DivergedError
from slurm.jobs import Job
from slurm.profile import JobResources
from sweeps import claims, row
from sweeps.attempts import next_attempt
from sweeps.claims import Claim
from sweeps.job import this_job, threads_of
from sweeps.keep import prune_now_and_then, register
from sweeps.progress import ProgressFile
from sweeps.provenance import code_commit
from sweeps.reconcile import tell_row
from sweeps.run import Run, open_run
from sweeps.study import locked_study

log = logging.getLogger("lmopt")

_NO_MEMORY = re.compile(r"can't allocate memory|CUDA out of memory|OutOfMemoryError|bad_alloc")


def prepare_run(run_dir: str) -> None:
    """Make what every trial needs: data, teacher, its logits, the baseline; and the linear row.

    The linear row comes first, minutes before any other, and again with what it loses against the
    baseline.
    """
    run, job = open_run(run_dir), this_job()
    progress = ProgressFile(run, job.job_id, "prepare")
    try:
        threads = threads_of(job)
        data = read_task(run.sweep.task, cache=run.cache, threads=threads, progress=progress)
        linear = linear_baseline(data)
        write_linear_row(run, data, linear)
        prepared = load_prepared(run, threads, progress)
        register(run, prepared, threads=threads)
        if run.sweep.task.has_extra_texts:
            labelled = run.sweep.asks_for("unlabelled_examples")
            extra_texts(Walk(run.cache, threads, progress), prepared, labelled=labelled)
        write_linear_row(run, data, linear, prepared)
    finally:
        progress.close()


def work(run_dir: str, index: int, resources: JobResources) -> None:
    """Run trials until nothing is left, the time runs out, or `trials_per_job` is reached."""
    run, job = open_run(run_dir), this_job()
    code_commit()  # Asked now, not inside the study's lock.
    progress = ProgressFile(run, job.job_id, "worker")
    limit = run.profile.trials_per_job
    done = 0
    try:
        prepared = load_prepared(run, threads_of(job), progress)
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


def load_prepared(run: Run, threads: int, progress: ProgressFile | None = None) -> Prepared:
    """Return what every trial starts from; made the first time, then loaded."""
    sweep = run.sweep
    return prepare(
        sweep.task,
        sweep.teacher,
        sweep.student,
        sweep.runtime,
        cache=run.cache,
        threads=threads,
        progress=progress,
    )


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
            Recipe(**claim.recipe),
            cache=run.cache,
            threads=threads_of(job),
            progress=progress,
        )
        result: row.Row = {"state": "COMPLETE", **row.measured(prepared, outcome)}
        result["timed_alone"] = False
    except DivergedError as error:
        result = {"state": "FAIL", "error": f"diverged: {error}"}
    except Exception as error:  # a failed trial is a result too; the sweep goes on
        traceback.print_exc()
        result = {"state": "FAIL", "error": f"{type(error).__name__}: {error}"}
        if lacks_memory(error):
            hint = "; lower batch_size" if "CUDA" in str(error) else ""
            result = {"state": "LOST", "error": f"out of memory: {error}{hint}"}
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
        write_row(values, run.row_path(claim.number, claim.attempt))
        if values["state"] != "LOST":
            tell_row(run, study, values)
    return True


def write_linear_row(
    run: Run, data: Data, linear: LinearOutcome, prepared: Prepared | None = None
) -> None:
    """Write the row of TF-IDF with logistic regression: what no language model needs to beat."""
    now = datetime.now(UTC)
    values: row.Row = {
        "run": run.name,
        "study": run.name,
        "attempt": 0,
        "kind": "linear",
        "method": "linear",
        "state": "COMPLETE",
        "size_bytes": linear.size_bytes,
        "runtime": "scikit-learn",
        "git_commit": code_commit(),
        "seconds_total": linear.seconds,
        "started_utc": now - timedelta(seconds=linear.seconds),
        "finished_utc": now,
    }
    if prepared is not None:
        values["size_ratio"] = prepared.baseline_size_bytes / linear.size_bytes
    for split, predictions in linear.predictions.items():
        values.update(row.quality(data, split, predictions))
        if prepared is not None:
            values.update(row.quality_drop(prepared, split, predictions))
    write_row(values, run.rows / "linear.parquet")
