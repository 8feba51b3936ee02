"""PyTorch: what transformers loads, in fp32 or bf16, on the CPU or a GPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Bits
from lmopt.runtimes.base import Exporter, Runtime, Session, Shape, Usage

if TYPE_CHECKING:
    from lmopt.data.tokens import Batch
    from lmopt.runtimes.manifest import Manifest

_STATEMENTS = """tokenizer = AutoTokenizer.from_pretrained(here)
model = AutoModelForSequenceClassification.from_pretrained(here)
inputs = tokenizer(text, truncation=True, max_length={max_length}, return_tensors="pt")
with torch.inference_mode():
    logits = model(**inputs).logits[0].float()
"""


def held_bits(bits: int) -> int:
    """An exported folder holds the weights before they were stored in few bits."""
    return 32


def _write(model_folder: Path, measured: "Manifest", folder: Path) -> None:
    from lmopt.runtimes.manifest import copy_artifact

    copy_artifact(model_folder, folder)


def _open(folder: Path, threads: int) -> Session:
    from lmopt.runtimes.pytorch.session import open_exported

    return open_exported(folder)


class PyTorch(Runtime):
    """PyTorch with transformers."""

    name = "torch"
    version = 2
    packages: tuple[str, ...] = ("torch", "transformers")
    bits: tuple[Bits, ...] = (32, 16)
    takes_plans = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    pad_to_multiple_of = 0
    export_format = "transformers"
    exporter: Exporter | None = Exporter(held_bits, _write, _open)

    def processor(self, device: str) -> str:
        """See `Runtime.processor`."""
        if device != "cpu":
            import torch

            from lmopt.training.device import pick_device

            if pick_device(device).type == "cuda":
                return torch.cuda.get_device_name()
        return super().processor(device)

    def build(
        self,
        model_folder: Path,
        max_length: int,
        folder: Path,
        stored: Mapping[str, Any],
        calibration: "Sequence[Batch]" = (),
    ) -> None:
        """See `Runtime.build`."""
        from lmopt.runtimes.pytorch.artifact import build_artifact

        build_artifact(model_folder, max_length, folder, bits=stored["bits"])

    def open(
        self, artifact: Path, manifest: "Manifest", threads: int, device: str, shape: Shape | None
    ) -> Session:
        """See `Runtime.open`."""
        from lmopt.runtimes.pytorch.session import open_model

        return open_model(artifact, manifest, threads, device)

    def unreadable(self, folder: Path) -> str | None:
        """See `Runtime.unreadable`."""
        from lmopt.models.shape import only_ours

        return only_ours(folder)

    def usage(
        self,
        files: Sequence[str],
        max_length: int,
        precision: str | None,
        pad_id: int,
        pad_to_multiple_of: int,
    ) -> Usage:
        """See `Runtime.usage`."""
        imports = (
            "import torch",
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        )
        statements = _STATEMENTS.format(max_length=max_length)
        return Usage(("torch", "transformers"), imports, statements, is_whole=True)
