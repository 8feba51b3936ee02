"""Open an ONNX Runtime artifact, or an exported ONNX file. This module imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.data.tokens import Ints
from lmopt.runtimes.base import INPUTS, Session
from lmopt.runtimes.manifest import Manifest


def open_model(artifact: Path, manifest: Manifest, threads: int) -> Session:
    """Open an artifact; it takes texts of any length."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # Errors: it warns of constants that it removes itself.
    # Idle threads of one session would take the cores of the one that is timed in turn with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _open(artifact / manifest.files[0], options)


def open_exported(folder: Path, threads: int) -> Session:
    """Open the ONNX file of an exported folder as a stranger would."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    (file,) = folder.glob("*.onnx")
    return _open(file, options)


def _open(file: Path, options: Any) -> Session:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(*arrays: Ints) -> npt.NDArray[np.float32]:
        inputs = dict(zip(INPUTS, arrays, strict=True))
        return np.asarray(session.run(["logits"], inputs)[0], dtype=np.float32)

    return run
