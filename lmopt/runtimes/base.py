"""What all runtimes share: the session's type, package versions, the processor."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmopt.config.runtime import Bits, RuntimeName
from lmopt.environment import processor_name

Ints = npt.NDArray[np.int64]
Session = Callable[[Ints, Ints], npt.NDArray[np.float32]]
"""(input_ids, attention_mask), both (batch, length) -> logits (batch, classes)"""
Shape = tuple[int, int]
"""(batch, length)"""
# What an artifact and its logits depend on.
PACKAGES: dict[RuntimeName, tuple[str, ...]] = {
    "openvino": ("openvino", "nncf"),
    "onnxruntime": ("onnxruntime", "onnx", "torch"),
    "torch": ("torch", "transformers"),
}


class Runtime(Protocol):
    """The module that builds a runtime's artifacts; its limits are in `runtimes.limits`."""

    VERSION: int

    def build_artifact(
        self, model_folder: Path, max_length: int, folder: Path, *, bits: Bits
    ) -> None:
        """Write the artifact of a saved classifier into `folder`."""


def runtime_versions(runtime: RuntimeName) -> dict[str, str]:
    """Version of each package that a runtime's artifacts and logits depend on."""
    return {name: version(name) for name in PACKAGES[runtime]}


def processor_of(runtime: RuntimeName, device: str) -> str:
    """Name of what runs the artifacts: this machine's processor, or the GPU under torch.

    Raises ValueError if there is no such device.
    """
    if runtime == "torch" and device != "cpu":
        import torch

        from lmopt.training.device import pick_device

        if pick_device(device).type == "cuda":
            return torch.cuda.get_device_name()
    return processor_name()
