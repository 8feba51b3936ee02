"""Open a torch artifact, or a plain transformers folder."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from lmopt.data.tokens import Ints
from lmopt.errors import UserError
from lmopt.models.loading import load_classifier
from lmopt.runtimes.base import INPUTS, Session
from lmopt.runtimes.manifest import Manifest
from lmopt.training.device import has_bf16, pick_device

CPU = torch.device("cpu")


def open_model(artifact: Path, manifest: Manifest, threads: int, device: str) -> Session:
    """Open an artifact on `device`, in bf16 where it is stored so and the device multiplies it."""
    _be_quiet()
    torch.set_num_threads(threads)
    target = pick_device(device)
    # Without native bf16 the weights are widened: emulated products are slower than fp32.
    half = manifest.precision is None and has_bf16(target)
    model = load_classifier(artifact).to(target, torch.bfloat16 if half else torch.float32)
    return session_of(model, target)


def open_exported(folder: Path) -> Session:
    """Open a plain transformers classifier, loaded by nothing but `from_pretrained`.

    Raises:
        ValueError: A weight is missing, left over, or of another shape.
    """
    _be_quiet()
    try:
        model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(str(error).strip().splitlines()[0]) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in found.get(what, ())):
            raise UserError(f"{what.replace('_', ' ')}: {names[0]} ({len(names)} in all)")
    return session_of(model)


def session_of(model: Any, device: torch.device = CPU) -> Session:
    """A loaded classifier as a session, in the precision it has."""
    model.eval()

    @torch.inference_mode()
    def run(*arrays: Ints) -> npt.NDArray[np.float32]:
        tensors = (torch.from_numpy(array).to(device) for array in arrays)
        logits = model(**dict(zip(INPUTS, tensors, strict=True))).logits
        # The copy to the host waits for the GPU, so that a timed call is a whole one.
        return np.asarray(logits.float().cpu().numpy())

    return run


def _be_quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
