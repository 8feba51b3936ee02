"""Run an artifact in its runtime. Imports no torch, so that a measuring process stays small."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.artifact import read_manifest

Ints = npt.NDArray[np.int64]
Session = Callable[[Ints, Ints], npt.NDArray[np.float32]]
"""(input_ids, attention_mask), both (batch, length) -> logits (batch, classes)"""


def open_session(artifact: Path, threads: int) -> Session:
    """Load an artifact into its runtime, with `threads` threads and one stream."""
    manifest = read_manifest(artifact)
    if manifest.runtime != "openvino":
        raise ValueError(f"{artifact} needs runtime {manifest.runtime!r}; known: 'openvino'")
    return _open_openvino(artifact / manifest.files[0], manifest.precision, threads)


def _open_openvino(path: Path, precision: str | None, threads: int) -> Session:
    import openvino as ov

    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # The process has its cores already; OpenVINO's own choice may be other ones.
        "ENABLE_CPU_PINNING": False,
    }
    if precision is not None:
        options["INFERENCE_PRECISION_HINT"] = precision
    request = ov.Core().compile_model(path, "CPU", options).create_infer_request()

    def run(input_ids: Ints, attention_mask: Ints) -> npt.NDArray[np.float32]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        result = request.infer(inputs, share_inputs=True)
        return np.array(result[0], dtype=np.float32)

    return run
