"""A small sweep, a run directory of it, and a pipeline that costs nothing.

The fast tests replace the pipeline at its outermost boundary (`prepare` and `run_recipe` as the
worker sees them); study, claims, rows, locks and jobs are the real ones. The real pipeline runs in
test_end_to_end.py.
"""

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from lmopt.config.task import TaskConfig
from lmopt.data.dataset import Data, Split
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.trial import Outcome
from lmopt.stages.context import StageTime
from slurm.records import Job, write_record
from sweeps.run.directory import Run

DEFINITION: dict[str, Any] = {
    "name": "small",
    "task": {"dataset": "data.csv"},
    "teacher": {"model": "teacher"},
    "recipe": {"epochs": 1, "train_examples": 100},
    "search": {
        "layers": {"type": "int", "low": 1, "high": 3},
        "temperature": [1.0, 2.0, 4.0],
        "bits": [32, 8, 4, 2],
    },
    "study": {"trials": 12, "sampler": "tpe", "seed": 3},
}


def tiny_definition(csv_file: Path, teacher: Path, student: Path) -> dict[str, Any]:
    """A sweep that really runs, in a minute: tiny models of two kinds on a tiny Russian task."""
    return {
        "name": "tiny",
        "task": {
            "dataset": str(csv_file),
            "text_column": "body",
            "label_column": "topic",
            "group_column": "document",
            "max_length": 32,
        },
        "teacher": {"model": str(teacher), "epochs": 8, "learning_rate": 2e-3, "batch_size": 16},
        "student": {"model": str(student)},
        "recipe": {"epochs": 6, "learning_rate": 3e-3, "batch_size": 16},
        "search": {"layers": [1, 2], "bits": [32, 4]},
        "reference_points": {
            "baseline": {"base": "teacher", "epochs": 0},
            "quantization": {"base": "teacher", "epochs": 0, "bits": 8},
        },
        # Without speed, so that the front is the same on every machine and at every hour.
        "objectives": {"accuracy_validation": "maximize", "size_bytes": "minimize"},
        "runtime": {"rounds_b1": 5, "rounds_b32": 3},
        "study": {"trials": 6, "sampler": "random", "seed": 1},
        "resources": {"workers": 1},
        "report": "tables",
    }


def make_job(run: Run, job_id: str | None = None, *, pid: int | None = None) -> Job:
    """Leave the start record of a job that runs in this process (or in `pid`)."""
    process = psutil.Process(pid or os.getpid())
    job = Job(
        job_id=job_id or f"local-test-{process.pid}",
        scheduler="local",
        folder=str(run.jobs),
        pid=process.pid,
        pid_started=process.create_time(),
        host=socket.gethostname(),
        node=socket.gethostname(),
        cores=(0,),
        cpus=1,
        restarts=0,
        started=time.time(),
        end_time=None,
    )
    write_record(job, run.jobs)
    return job


LABELS = {"validation": np.arange(40) % 4, "test": np.arange(80) % 4}


def fake_prepared() -> SimpleNamespace:
    """What `prepare` would return for a task of 4 classes whose teacher is always right."""
    groups = {split: np.arange(len(labels)) // 2 for split, labels in LABELS.items()}
    splits = {split: Split([], LABELS[split], groups[split]) for split in LABELS}
    stage, path = SimpleNamespace(path=Path("0" * 16)), Path("1" * 16)
    return SimpleNamespace(
        task=TaskConfig(dataset="data.csv"),
        tokens=stage,
        teacher_stage=stage,
        teacher_logits=stage,
        baseline=path,
        baseline16=path,
        data=Data(["a", "b", "c", "d"], splits, "data"),
        labels=LABELS,
        groups=groups,
        baseline_logits={split: _logits(labels, 0.0) for split, labels in LABELS.items()},
        teacher_key="teacher",
        baseline_size_bytes=1_000_000,
    )


def fake_outcome(recipe: Recipe, folder: Path) -> Outcome:
    """What a recipe would give: fewer layers and bits are smaller, faster and a little worse."""
    layers = recipe.layers or 6
    wrong = 0.02 * (6 - layers) + 0.02 * (32 / recipe.bits - 1) / 4
    size = 1_000_000 * layers / 6 * recipe.bits / 32
    times = {"baseline": [6.0, 6.1, 6.2], "baseline16": [3.0, 3.1, 3.2]}
    trial = [layers * 1.0, layers * 1.1, layers * 1.05]
    return Outcome(
        artifact=folder / "artifact",
        artifact_hash=recipe.key(),
        size_bytes=int(size),
        folder_bytes=int(size) + 1000,
        parameters=layers * 1000,
        sparsity=recipe.sparsity,
        claim=recipe.claim(recipe.sparsity),
        macs=layers * 10_000,
        transfer_bytes=int(size),
        logits={split: _logits(labels, wrong) for split, labels in LABELS.items()},
        latency={"b1": {**times, "trial": trial}, "b32": {**times, "trial": trial}},
        noisy=False,
        stages=(StageTime("distill", 0.01, False), StageTime("artifact", 0.0, True)),
        processor="test",
        runtime="openvino",
        threads=1,
        pad_to_multiple_of=8,
        versions={"torch": "0"},
    )


def _logits(labels: np.ndarray, wrong: float) -> np.ndarray:
    """Return (n, 4) logits that are right but for a share of the examples."""
    said = np.where(np.arange(len(labels)) < wrong * len(labels), (labels + 1) % 4, labels)
    return np.eye(4, dtype=np.float32)[said] * 5
