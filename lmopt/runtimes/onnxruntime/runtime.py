"""ONNX Runtime: 32, 16, 8 and 4 bits, one model for texts of any length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Bits
from lmopt.runtimes.base import Exporter, Runtime, Session, Shape, Usage

if TYPE_CHECKING:
    from lmopt.data.tokens import Batch
    from lmopt.runtimes.manifest import Manifest

_STATEMENTS = """model = ort.InferenceSession(here / "{file}", providers=["CPUExecutionProvider"])
logits = model.run(None, {{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0][0]
"""


def held_bits(bits: int) -> int:
    """An exported file holds the weights before they were quantized: in halves, or in full."""
    return 16 if bits <= 16 else 32


def _write(model_folder: Path, measured: "Manifest", folder: Path) -> None:
    from lmopt.runtimes.onnxruntime.export import write_onnx

    write_onnx(model_folder, measured, folder)


def _open(folder: Path, threads: int) -> Session:
    from lmopt.runtimes.onnxruntime.session import open_exported

    return open_exported(folder, threads)


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    name = "onnxruntime"
    version = 2
    packages: tuple[str, ...] = ("onnxruntime", "onnx", "torch")
    bits: tuple[Bits, ...] = (32, 16, 8, 4)
    takes_plans = False
    devices: tuple[str, ...] = ("cpu",)
    pad_to_multiple_of = 0
    export_format = "onnx"
    exporter: Exporter | None = Exporter(held_bits, _write, _open)

    def build(
        self,
        model_folder: Path,
        max_length: int,
        folder: Path,
        stored: Mapping[str, Any],
        calibration: "Sequence[Batch]" = (),
    ) -> None:
        """See `Runtime.build`."""
        from lmopt.runtimes.onnxruntime.artifact import build_artifact

        build_artifact(model_folder, max_length, folder, bits=stored["bits"])

    def open(
        self, artifact: Path, manifest: "Manifest", threads: int, device: str, shape: Shape | None
    ) -> Session:
        """See `Runtime.open`."""
        from lmopt.runtimes.onnxruntime.session import open_model

        return open_model(artifact, manifest, threads)

    def usage(
        self,
        files: Sequence[str],
        max_length: int,
        precision: str | None,
        pad_id: int,
        pad_to_multiple_of: int,
    ) -> Usage:
        """See `Runtime.usage`."""
        file = next(name for name in files if name.endswith(".onnx"))
        imports = ("import onnxruntime as ort",)
        return Usage(("onnxruntime",), imports, _STATEMENTS.format(file=file))
