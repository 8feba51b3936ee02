"""Open an artifact in its runtime. Only the torch runtime imports torch."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.errors import UserError
from lmopt.runtimes.base import PACKAGES, Ints, Session, Shape
from lmopt.runtimes.manifest import Manifest, read_manifest


def open_session(
    artifact: Path, threads: int, device: str = "auto", shape: Shape | None = None
) -> Session:
    """Load an artifact into its runtime, with `threads` threads and one stream.

    `device` is for torch, the one runtime that is used on a GPU too. `shape` (batch, length) is for
    OpenVINO: a model that is compiled for one shape spares the work of finding out shapes at every
    call, half the time of a small model at batch 1. None: it takes any.
    """
    manifest = read_manifest(artifact)
    if manifest.runtime == "torch":
        return _open_torch(artifact, manifest, threads, device)
    if manifest.runtime == "onnxruntime":
        return _open_onnxruntime(artifact, manifest, threads)
    if manifest.runtime == "openvino":
        return _open_openvino(artifact, manifest, threads, shape)
    raise UserError(f"{artifact} needs runtime {manifest.runtime!r}; known: {', '.join(PACKAGES)}")


def _open_openvino(
    artifact: Path, manifest: Manifest, threads: int, shape: Shape | None
) -> Session:
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

    def run(input_ids: Ints, attention_mask: Ints) -> npt.NDArray[np.float32]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        result = request.infer(inputs, share_inputs=True)
        return np.array(result[0], dtype=np.float32)

    return run


def _open_onnxruntime(artifact: Path, manifest: Manifest, threads: int) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # Errors: it warns of constants that it removes itself.
    # Idle threads of one session would take the cores of the one that is timed in turn with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        artifact / manifest.files[0], options, providers=["CPUExecutionProvider"]
    )

    def run(input_ids: Ints, attention_mask: Ints) -> npt.NDArray[np.float32]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return np.asarray(session.run(["logits"], inputs)[0], dtype=np.float32)

    return run


def _open_torch(artifact: Path, manifest: Manifest, threads: int, device: str) -> Session:
    import torch
    import transformers

    from lmopt.models.loading import load_classifier
    from lmopt.training.device import has_bf16, pick_device

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    target = pick_device(device)
    # Without native bf16 the weights are widened: emulated products are slower than fp32.
    half = manifest.precision is None and has_bf16(target)
    model = load_classifier(artifact).to(target, torch.bfloat16 if half else torch.float32).eval()

    @torch.inference_mode()
    def run(input_ids: Ints, attention_mask: Ints) -> npt.NDArray[np.float32]:
        inputs = [torch.from_numpy(array).to(target) for array in (input_ids, attention_mask)]
        logits = model(input_ids=inputs[0], attention_mask=inputs[1]).logits
        # The copy to the host waits for the GPU, so that a timed call is a whole one.
        return np.asarray(logits.float().cpu().numpy())

    return run
