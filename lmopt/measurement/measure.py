"""Measure saved artifacts in a fresh process: logits of the task's splits, and latency.

`python -m lmopt.measurement SPEC.json` is that process: it loads torch for torch's own artifacts
only, runs on as many cores as it has threads, prints `progress <fraction>` lines and writes arrays
to the npz file that the spec names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt.measurement.process import run_process
from lmopt.progress import Progress

VERSION = 1
Floats = npt.NDArray[np.float32]
Latency = dict[str, dict[str, list[float]]]
"""{"b1" | "b32": {artifact's name: samples in milliseconds}}"""


class Timed(NamedTuple):
    """An artifact to be timed, and the task's tokens by its own tokenizer."""

    artifact: Path
    tokens: Path


def evaluate(
    artifact: Path,
    tokens: Path,
    splits: Sequence[str],
    *,
    threads: int,
    device: str = "auto",
    stage: str = "evaluate",
    progress: Progress | None = None,
) -> dict[str, Floats]:
    """Logits (n, classes) of each split from the saved artifact, reloaded in its runtime."""
    spec = {
        "artifact": str(artifact),
        "tokens": str(tokens),
        "splits": list(splits),
        "device": device,
    }
    return run_process("evaluate", spec, threads, stage, progress)


def time_in_turn(
    artifacts: Mapping[str, Timed],
    *,
    threads: int,
    rounds_b1: int,
    rounds_b32: int,
    pad_to_multiple_of: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[Latency, bool]:
    """Time artifacts side by side on real texts, at batch 1 and at batch 32, first warmed up.

    With `pad_to_multiple_of` texts are padded to such a length, and OpenVINO's models compiled for
    it, as a server would keep one for each length; 0: one model takes any.

    The first artifact is the reference: where its timings of equal inputs differ too much, the
    measurement is repeated; the second value tells that it stayed noisy. Samples are in
    milliseconds; sample i of every artifact is of the same texts, at almost the same moment.
    """
    spec = {
        "artifacts": {name: [str(a), str(t)] for name, (a, t) in artifacts.items()},
        "rounds": {"b1": rounds_b1, "b32": rounds_b32},
        "pad_to_multiple_of": pad_to_multiple_of,
        "device": device,
    }
    arrays = run_process("latency", spec, threads, "latency", progress)
    latency: Latency = {
        batch: {name: arrays[f"{batch}_{name}"].tolist() for name in artifacts}
        for batch in ("b1", "b32")
    }
    return latency, bool(arrays["noisy"])
