"""Open an artifact in the runtime that its manifest names. Only PyTorch's imports torch."""

from pathlib import Path

from lmopt.errors import UserError
from lmopt.runtimes.base import Session, Shape
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.registry import runtime_named


def open_session(
    artifact: Path, threads: int, device: str = "auto", shape: Shape | None = None
) -> Session:
    """Load an artifact into its runtime, with `threads` threads and one stream.

    `device` is for a runtime that is used on a GPU too. `shape` (batch, length) is for one that
    compiles models: one for a single shape spares the work of finding out shapes at every call,
    half the time of a small model at batch 1. None: it takes any.

    Raises:
        ValueError: The folder is no artifact, or one of an unknown runtime.
    """
    manifest = read_manifest(artifact)
    try:
        runtime = runtime_named(manifest.runtime)
    except ValueError as error:
        raise UserError(f"{artifact} cannot be opened: {error}") from None
    return runtime.open(artifact, manifest, threads, device, shape)
