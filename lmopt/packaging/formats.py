"""What every exported folder holds beside its model: label names, checksums."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from lmopt.runtimes.manifest import MANIFEST, read_manifest
from lmopt.runtimes.registry import runtime_of_format

LABELS = "labels.json"
CHECKSUMS = "SHA256SUMS"


def stored_bits(form: str, bits: int) -> int:
    """The width in which a format other than the measured one holds the weights of a trial."""
    exporter = runtime_of_format(form).exporter
    assert exporter is not None, f"nothing but a measured artifact is written as {form}"
    return exporter.held_bits(bits)


def write_labels(folder: Path, label_names: Sequence[str]) -> None:
    """Write the names of the classes, in the order of the logits."""
    text = json.dumps(list(label_names), ensure_ascii=False, indent=1)
    (folder / LABELS).write_text(text + "\n", encoding="utf-8")


def model_files(folder: Path) -> tuple[str, ...]:
    """The model files of an exported folder: the manifest's, or transformers' weights."""
    if (folder / MANIFEST).exists():
        return read_manifest(folder).files
    return tuple(sorted(path.name for path in folder.glob("*.safetensors")))


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum -c` reads."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    (folder / CHECKSUMS).write_text("".join(lines))
