"""Open an OpenVINO artifact. This module imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.data.tokens import Ints
from lmopt.runtimes.base import INPUTS, Session, Shape
from lmopt.runtimes.manifest import Manifest


def open_model(artifact: Path, manifest: Manifest, threads: int, shape: Shape | None) -> Session:
    """Compile an artifact for one shape (batch, length), or for any."""
    import openvino as ov

    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # The process has its cores already; OpenVINO's own choice may be other ones.
        "ENABLE_CPU_PINNING": False,
    }
    if manifest.precision is not None:
        options["INFERENCE_PRECISION_HINT"] = manifest.precision
    core = ov.Core()
    model = core.read_model(artifact / manifest.files[0])
    if shape is not None:
        model.reshape({name: list(shape) for name in manifest.inputs})
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(*arrays: Ints) -> npt.NDArray[np.float32]:
        result = request.infer(dict(zip(INPUTS, arrays, strict=True)), share_inputs=True)
        return np.array(result[0], dtype=np.float32)

    return run
