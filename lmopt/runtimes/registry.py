"""The runtimes that artifacts are built for, by name."""

from lmopt.config.runtime import RuntimeName
from lmopt.runtimes.base import Runtime
from lmopt.runtimes.onnxruntime import artifact as onnx_artifact
from lmopt.runtimes.openvino import artifact as quantize
from lmopt.runtimes.pytorch import artifact as torch_artifact

RUNTIMES: dict[RuntimeName, Runtime] = {
    "openvino": quantize,
    "onnxruntime": onnx_artifact,
    "torch": torch_artifact,
}
