"""The measuring process's work, done in the process of a test."""

import tempfile
from typing import Any

import numpy as np

from lmopt.measurement.evaluation import evaluate_spec
from lmopt.measurement.timing import time_spec
from lmopt.progress import Progress


def measure_here(
    what: str, spec: dict[str, Any], threads: int, stage: str, progress: Progress | None
) -> dict[str, Any]:
    """Return what `run_process` returns; no process is started and no core is taken."""
    work = {"evaluate": evaluate_spec, "latency": time_spec}[what]
    report = (lambda fraction: progress(stage, fraction)) if progress else (lambda _: None)
    with tempfile.TemporaryFile() as file:  # What a file does to arrays is done to these too.
        np.savez(file, **work(spec | {"threads": threads}, report))
        file.seek(0)
        with np.load(file) as arrays:
            return dict(arrays)
