"""The prepare job: everything that all trials of a run share, and the linear model's row."""

import logging
from datetime import UTC, datetime, timedelta

from analysis.rows.table import write_row
from lmopt.data.dataset import Data
from lmopt.pipeline.prepare import Prepared, extra_texts, read_task
from lmopt.stages.context import Walk
from lmopt.tasks.linear_baseline import LinearOutcome, linear_baseline
from lmopt.tasks.registry import task_of
from sweeps.disk.retention import register
from sweeps.jobs.context import job_threads, this_job
from sweeps.run import rows as row
from sweeps.run.directory import Run, open_run
from sweeps.run.prepared import load_prepared
from sweeps.run.progress import ProgressFile
from sweeps.run.provenance import code_commit

log = logging.getLogger("lmopt")


def prepare_run(run_dir: str) -> None:
    """Make what every trial needs: data, teacher, its logits, the baseline; and the linear row.

    The linear row comes first, minutes before any other, and again with what it loses against the
    baseline.
    """
    run, job = open_run(run_dir), this_job()
    progress = ProgressFile(run, job.job_id, "prepare")
    try:
        threads = job_threads(job)
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
    if prepared is None:  # The first time.
        warn_of_one_document(data)
    task = task_of(run.sweep.task.kind)
    for split, outputs in linear.outputs.items():
        values.update(row.quality(task, data, split, outputs))
        if prepared is not None:
            reference = prepared.baseline_logits[split]
            values.update(row.quality_drop(task, data, split, outputs, reference))
    write_row(values, run.rows / "linear.parquet")


def warn_of_one_document(data: Data) -> None:
    """Say in the job's log which numbers will have no standard error, and why."""
    for name in ("validation", "test"):
        if len(set(data.splits[name].groups.tolist())) == 1:
            log.warning(
                "the %s split is one document (task.group_column): its numbers have no standard "
                "error and no interval",
                name,
            )
