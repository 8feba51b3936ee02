"""The OpenVINO runtime: all widths, storage by plan, models compiled for one shape."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import BITS, Bits
from lmopt.runtimes.base import Exporter, Runtime, Session, Shape, Usage

if TYPE_CHECKING:
    from lmopt.data.tokens import Batch
    from lmopt.runtimes.manifest import Manifest

_ANY_LENGTH = """model = ov.Core().compile_model(here / "{file}", "CPU"{options})
logits = model({{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0][0]
"""
_PADDED = """\
padding = [(0, 0), (0, min({max_length}, -(-ids.size // {multiple}) * {multiple}) - ids.size)]
inputs = {{
    "input_ids": np.pad(ids, padding, constant_values={pad_id}),
    "attention_mask": np.pad(np.ones_like(ids), padding),
}}
# One model for each length is faster than one for any: a server keeps those that it has compiled.
model = ov.Core().read_model(here / "{file}")
model.reshape({{name: array.shape for name, array in inputs.items()}})
logits = ov.compile_model(model, "CPU"{options})(inputs)[0][0]
"""


class OpenVino(Runtime):
    """OpenVINO on the CPU, with NNCF for what depends on activations."""

    name = "openvino"
    version = 4
    packages: tuple[str, ...] = ("openvino", "nncf")
    bits: tuple[Bits, ...] = BITS
    takes_plans = True
    devices: tuple[str, ...] = ("cpu",)
    pad_to_multiple_of = 8
    export_format = "openvino"
    exporter: Exporter | None = None  # Another trial's weights would have other widths in it.

    def build(
        self,
        model_folder: Path,
        max_length: int,
        folder: Path,
        stored: Mapping[str, Any],
        calibration: "Sequence[Batch]" = (),
    ) -> None:
        """See `Runtime.build`."""
        from lmopt.runtimes.openvino.artifact import build_artifact

        build_artifact(model_folder, max_length, folder, **stored, calibration=calibration)

    def open(
        self, artifact: Path, manifest: "Manifest", threads: int, device: str, shape: Shape | None
    ) -> Session:
        """See `Runtime.open`."""
        from lmopt.runtimes.openvino.session import open_model

        return open_model(artifact, manifest, threads, shape)

    def usage(
        self,
        files: Sequence[str],
        max_length: int,
        precision: str | None,
        pad_id: int,
        pad_to_multiple_of: int,
    ) -> Usage:
        """See `Runtime.usage`."""
        options = f', {{"INFERENCE_PRECISION_HINT": "{precision}"}}' if precision else ""
        file = next(name for name in files if name.endswith(".xml"))
        statements = (_PADDED if pad_to_multiple_of else _ANY_LENGTH).format(
            file=file,
            options=options,
            max_length=max_length,
            pad_id=pad_id,
            multiple=pad_to_multiple_of,
        )
        return Usage(("openvino",), ("import openvino as ov",), statements)
