"""Time artifacts side by side inside the measuring process."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.data.tokens import Ints, Tokens, load_tokens, pad
from lmopt.runtimes.base import Session, Shape
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.sessions import open_session

PASSES = 3  # Every input is timed so many times: its spread is noise, not length.
MAX_NOISE = 0.25
REPEATS = 2


def latency_samples(
    calls: Mapping[str, Sequence[Callable[[], object]]], passes: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Milliseconds (passes, inputs) of each name's calls: all names in turn at every input."""
    names = list(calls)
    inputs = len(calls[names[0]])
    samples = {name: np.empty((passes, inputs)) for name in names}
    for number in range(-1, passes):  # Pass -1 warms up: every shape has been seen before.
        for i in range(inputs):
            for name in names:
                start = time.perf_counter_ns()
                calls[name][i]()
                if number >= 0:
                    samples[name][number, i] = (time.perf_counter_ns() - start) / 1e6
    return samples


def noise(samples: npt.NDArray[np.float64]) -> float:
    """Median over inputs of median pass / fastest pass - 1; `samples` is (passes, inputs).

    A single interruption of an input does not count, a core that is shared all the time does.
    """
    return float(np.median(np.median(samples, axis=0) / samples.min(axis=0))) - 1


@dataclass(frozen=True)
class Served:
    """An artifact as it is timed: the task's tokens by its own tokenizer, padded as it is served.

    `pad_to_multiple_of` 0: one model takes texts of any length.
    """

    artifact: Path
    tokens: Tokens
    threads: int
    device: str = "auto"
    pad_to_multiple_of: int = 0

    def batches(self, chosen: Sequence[Ints]) -> list[tuple[Ints, Ints]]:
        """Ids and mask, both (batch, length), of each group of chosen texts."""
        manifest = read_manifest(self.artifact)
        padding = manifest.pad_id, self.pad_to_multiple_of, manifest.max_length
        return [pad([self.tokens[i] for i in c], *padding) for c in chosen]

    def shape_of(self, ids: Ints) -> Shape | None:
        """What the model for these inputs is compiled for; None: any shape."""
        return ids.shape if self.pad_to_multiple_of else None

    def open(self, shape: Shape | None) -> Session:
        """A model for inputs of this shape; None: of any."""
        return open_session(self.artifact, self.threads, self.device, shape)


def _time_batches(
    served: Mapping[str, Served], batch: int, rounds: int
) -> tuple[dict[str, npt.NDArray[np.float64]], bool]:
    """Samples (rounds,) of each artifact, from the least noisy of up to 1 + REPEATS attempts."""
    reference, first = next(iter(served.items()))
    count = len(first.tokens)
    rng = np.random.default_rng(0)
    chosen = [
        rng.choice(count, min(batch, count), replace=False)
        for _ in range(max(1, round(rounds / PASSES)))
    ]
    batches = {name: one.batches(chosen) for name, one in served.items()}
    # Models for one shape are opened for its inputs alone: all of them together may be too much.
    shapes = [first.shape_of(ids) for ids, _ in batches[reference]]
    groups = [
        [i for i, own in enumerate(shapes) if own == shape] for shape in dict.fromkeys(shapes)
    ]
    attempts = []
    for _ in range(1 + REPEATS):
        samples = {name: np.empty((PASSES, len(chosen))) for name in served}
        for group in groups:
            of_group = latency_samples(_calls(served, batches, group), PASSES)
            for name, array in of_group.items():
                samples[name][:, group] = array
        attempts.append(samples)
        if noise(samples[reference]) <= MAX_NOISE:
            break
    best = min(attempts, key=lambda samples: noise(samples[reference]))
    flat = {name: samples.ravel() for name, samples in best.items()}
    return flat, noise(best[reference]) > MAX_NOISE


def _calls(
    served: Mapping[str, Served],
    batches: Mapping[str, Sequence[tuple[Ints, Ints]]],
    group: Sequence[int],
) -> dict[str, list[Callable[[], object]]]:
    """For each artifact, a call for every input of the group."""
    calls: dict[str, list[Callable[[], object]]] = {}
    for name, one in served.items():
        opened: dict[Shape | None, Session] = {}
        calls[name] = []
        for ids, mask in (batches[name][i] for i in group):
            shape = one.shape_of(ids)
            if shape not in opened:
                opened[shape] = one.open(shape)
            calls[name].append(_call(opened[shape], ids, mask))
    return calls


def _call(session: Session, input_ids: Ints, attention_mask: Ints) -> Callable[[], object]:
    return lambda: session(input_ids, attention_mask)


def time_spec(spec: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
    served = {
        name: Served(
            Path(artifact),
            load_tokens(Path(tokens))["validation"],
            spec["threads"],
            spec["device"],
            spec["pad_to_multiple_of"],
        )
        for name, (artifact, tokens) in spec["artifacts"].items()
    }
    arrays: dict[str, Any] = {"noisy": False}
    for number, (batch, rounds) in enumerate(spec["rounds"].items()):
        report(number / len(spec["rounds"]))
        samples, noisy = _time_batches(served, int(batch[1:]), rounds)
        arrays |= {f"{batch}_{name}": values for name, values in samples.items()}
        arrays["noisy"] |= noisy
    return arrays
