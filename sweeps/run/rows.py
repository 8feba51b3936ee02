"""The row of one attempt: what was measured, turned into the columns of the results table."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from analysis.rows.metrics import drop_column, score_column
from analysis.statistics.uncertainty import metric_difference, metric_with_error, ratio_interval
from lmopt.methods.recipe import Recipe
from lmopt.tasks.base import Outputs, Task, check_finite
from lmopt.tasks.registry import task_of
from slurm.records import Job
from slurm.states import log_paths
from sweeps.definition.sweep import Bound
from sweeps.run.claims import Claim
from sweeps.run.directory import Run

if TYPE_CHECKING:
    from lmopt.data.dataset import Data
    from lmopt.pipeline.prepare import Prepared
    from lmopt.pipeline.trial import Outcome


Row = dict[str, Any]
# Metrics whose value is in a column of schema 1 as well.
_OWN_COLUMN = ("macro_f1",)


def identity(run: Run, claim: Claim) -> Row:
    """Return the columns that every row has, whatever became of the attempt."""
    row: Row = {
        "run": run.name,
        "study": run.name,
        "trial": claim.number,
        "attempt": claim.attempt,
        "kind": "search" if claim.reference is None else "reference",
        "method": claim.reference,
        "recipe_json": json.dumps(claim.recipe, sort_keys=True),
        "recipe_key": claim.key,
        "seed": claim.recipe.get("seed"),
        "job_id": claim.job_id,
        "git_commit": claim.git_commit,
        "started_utc": _time(claim.started_utc),
        "finished_utc": datetime.now(UTC),
    }
    row.update({f"param_{name}": value for name, value in claim.params.items()})
    return row | _methods(run.sweep.recipe_type, claim)


def _methods(recipe_type: type[Recipe], claim: Claim) -> Row:
    """Return what analysis cannot know of a recipe: its methods and its idle parameters."""
    recipe = recipe_type(**claim.recipe)
    settings = recipe.settings()
    idle = recipe.model_copy(update=claim.params).idle()
    return {
        "methods": list(settings),
        "settings": list(settings.values()),
        "idle_parameters": [name for name in claim.params if name in idle],
    }


def shown_parameters(run: Run) -> dict[str, dict[str, str]]:
    """Return the unit, header and label of each searched parameter of a run."""
    return {name: run.sweep.recipe_type.shown(name) for name in run.sweep.search}


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def spent(claim: Claim, job: Job) -> Row:
    """Return what an attempt that ends now has cost."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(claim.started_utc)).total_seconds()
    return {
        "seconds_total": seconds,
        "core_seconds": seconds * job.cpus,
        "host": job.host,
        "cores": ",".join(str(core) for core in job.cores),
    }


def measured(prepared: "Prepared", outcome: "Outcome") -> Row:
    """Return everything that was measured on one artifact.

    Raises NotFiniteError where its outputs are no numbers: then it has failed.
    """
    check_finite(outcome.logits)
    row: Row = {
        "size_bytes": outcome.size_bytes,
        "folder_bytes": outcome.folder_bytes,
        "size_ratio": prepared.baseline_size_bytes / outcome.size_bytes,
        "parameters": outcome.parameters,
        "sparsity_measured": outcome.sparsity,
        "macs": outcome.macs,
        "transfer_bytes": outcome.transfer_bytes,
        "claimed_weight_share": _claimed(outcome.claim.size),
        "claimed_work_share": _claimed(outcome.claim.work),
        "stages_cached": [name for name, _, cached in outcome.stages if cached],
        "teacher_key": prepared.teacher_key,
        "artifact_hash": outcome.artifact_hash,
        "timing_noisy": outcome.noisy,
        "artifact_path": str(outcome.artifact),
        "runtime": outcome.runtime,
        "threads": outcome.threads,
        "pad_to_multiple_of": outcome.pad_to_multiple_of,
        "processor": outcome.processor,
        "versions": json.dumps(outcome.versions, sort_keys=True),
    }
    task, reference = task_of(prepared.task.kind), prepared.baseline_logits
    for split in ("validation", "test"):
        outputs = outcome.logits[split]
        row.update(quality(task, prepared.data, split, outputs))
        row.update(quality_drop(task, prepared.data, split, outputs, reference[split]))
    near = task.closeness(outcome.logits["test"], reference["test"])
    row.update({f"{name}_test": value for name, value in near.items()})
    for batch, samples in outcome.latency.items():
        row.update(speed(batch, samples))
    for name, seconds, cached in outcome.stages:
        if not cached:
            row[f"seconds_{name}"] = seconds
    return row


def _claimed(share: float) -> float | None:
    return None if math.isnan(share) else share


def quality(task: Task, data: "Data", split: str, outputs: Outputs) -> Row:
    """Return the task's metrics on one split, each with its standard error by document.

    Of one document there is no error: its column is null.
    """
    truth = data.splits[split]
    statistics = task.statistics(outputs, truth)
    row: Row = {
        f"examples_{split}": len(truth.groups),
        f"groups_{split}": len(np.unique(truth.groups)),
    }
    for metric in task.metrics:
        value, error = metric_with_error(statistics, metric.value, truth.groups)
        name = score_column(metric.name, split)
        row |= {name: value, f"{name}_se": _known(error)}
        if metric.name in _OWN_COLUMN:
            row[f"{metric.name}_{split}"] = value
    return row


def quality_drop(task: Task, data: "Data", split: str, outputs: Outputs, reference: Outputs) -> Row:
    """Return what each metric loses against the teacher's fp32 artifact on one split, in pairs.

    Positive is worse, whichever end of the metric is better.
    """
    truth = data.splits[split]
    own, teacher = (task.statistics(x, truth) for x in (outputs, reference))
    row: Row = {}
    for metric in task.metrics:
        pair = (teacher, own) if metric.direction == "maximize" else (own, teacher)
        drop, error = metric_difference(*pair, metric.value, truth.groups)
        name = drop_column(metric.name, split)
        row |= {name: drop, f"{name}_se": _known(error)}
    return row


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def speed(batch: str, samples: Mapping[str, Sequence[float]]) -> Row:
    """Return the latency columns of one batch size from samples that were timed in turn."""
    trial, baseline, baseline16 = (
        np.asarray(samples[name], dtype=float) for name in ("trial", "baseline", "baseline16")
    )
    ratio, low, high = ratio_interval(baseline, trial)
    return {
        f"latency_{batch}_p50_ms": float(np.median(trial)),
        f"latency_{batch}_p90_ms": float(np.quantile(trial, 0.9)),
        f"speedup_{batch}": ratio,
        f"speedup_{batch}_low": low,
        f"speedup_{batch}_high": high,
        f"baseline_{batch}_p50_ms": float(np.median(baseline)),
        f"baseline16_{batch}_p50_ms": float(np.median(baseline16)),
        f"speedup_{batch}_vs_16": float(np.median(baseline16) / np.median(trial)),
        f"latency_{batch}_samples_ms": trial.tolist(),
        f"baseline_{batch}_samples_ms": baseline.tolist(),
        f"baseline16_{batch}_samples_ms": baseline16.tolist(),
    }


def final_row(run: Run, claim: Claim) -> Row | None:
    """Return the row that settles a trial, written by the attempt that owns it; None if none."""
    values = read_row(run, claim.number, claim.attempt)
    return values if values and values["state"] in ("COMPLETE", "FAIL", "PRUNED") else None


def read_row(run: Run, number: int, attempt: int) -> Row | None:
    """Return the row of an attempt as it was written; None if there is none."""
    path = run.row_path(number, attempt)
    return pq.read_table(path).to_pylist()[0] if path.exists() else None


def is_feasible(row: Mapping[str, Any], constraints: Mapping[str, Bound]) -> bool | None:
    """Whether a row meets all constraints; None if there are none, or nothing was measured."""
    if not constraints or row["state"] != "COMPLETE":
        return None
    return all(value <= 0 for value in constraint_values(row, constraints).values())


def constraint_values(row: Mapping[str, Any], constraints: Mapping[str, Bound]) -> dict[str, float]:
    """Return each constraint as Optuna wants it: feasible at or below 0."""
    values = {}
    for name, bound in constraints.items():
        if bound.max is not None:
            values[f"{name} <= {bound.max:g}"] = float(row[name]) - bound.max
        if bound.min is not None:
            values[f"{name} >= {bound.min:g}"] = bound.min - float(row[name])
    return values


def log_path(run: Run, job_id: str) -> str:
    """Return the job's log, relative to the run directory."""
    return os.path.relpath(log_paths(job_id, run.jobs)[1], run.path)
