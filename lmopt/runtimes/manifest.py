"""An artifact: the folder that would be deployed. Model files, tokenizer, config, manifest.

This module imports neither torch nor a runtime.
"""

import json
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmopt.errors import UserError
from lmopt.hashing import file_hash
from lmopt.stages.cache import RECORD

MANIFEST = "lmopt.json"


@dataclass(frozen=True)
class Manifest:
    """What a runtime and a result row must know about an artifact.

    `inputs` are the model's inputs, each int64 (batch, length); the one output is the logits.
    `precision` is the runtime's precision hint, None for the processor's best. `hash` and
    `size_bytes` are of the model `files` alone. `sparsity` is the share of zero parameters, `macs`
    the multiply-accumulates for one text of `max_length` tokens, `transfer_bytes` what the files
    take when they are sent with gzip.
    """

    runtime: str
    bits: int
    precision: str | None
    inputs: tuple[str, ...]
    max_length: int
    pad_id: int
    label_names: tuple[str, ...]
    parameters: int
    sparsity: float
    macs: int
    files: tuple[str, ...]
    size_bytes: int
    transfer_bytes: int
    hash: str


def hash_files(folder: Path, files: tuple[str, ...]) -> tuple[int, str]:
    """Size in bytes and hash of the model files of an artifact."""
    paths = [folder / name for name in files]
    return sum(path.stat().st_size for path in paths), file_hash(*paths)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the artifact's folder."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, ensure_ascii=False))


def read_manifest(folder: Path) -> Manifest:
    """Read an artifact's manifest; ValueError if the folder is no artifact."""
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(f"{folder} is no artifact: it has no {MANIFEST}")
    fields: dict[str, Any] = json.loads(path.read_text())
    return Manifest(**fields | {k: tuple(v) for k, v in fields.items() if isinstance(v, list)})


def folder_bytes(folder: Path) -> int:
    """Size of everything in the artifact's folder, the cache's own record apart."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return sum(path.stat().st_size for path in files)


def copy_artifact(artifact: Path, folder: Path) -> None:
    """Copy an artifact, or a saved model, without the cache's own record."""
    shutil.copytree(artifact, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))


def transfer_bytes(path: Path) -> int:
    """Size of a file as gzip (level 6) would send it: where zeros that are stored in full count."""
    gzip = zlib.compressobj(6, wbits=31)
    with path.open("rb") as file:
        sizes = [len(gzip.compress(chunk)) for chunk in iter(lambda: file.read(1 << 20), b"")]
    return sum(sizes) + len(gzip.flush())
