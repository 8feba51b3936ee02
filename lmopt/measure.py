"""Measure saved artifacts in a fresh process: logits of the task's splits, and latency.

`python -m lmopt.measure SPEC.json` is that process: it loads torch for torch's own artifacts only,
runs on as many cores as it has threads, prints `progress <fraction>` lines and writes arrays to the
npz file the spec names.
The functions without underscore start it and return what it wrote.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt.artifact import read_manifest
from lmopt.data import Tokens, concatenate, load_tokens, pad
from lmopt.runtime import Ints, Session, Shape, open_session

VERSION = 1
BATCH_SIZE = 64
PASSES = 3  # Every input is timed so many times: its spread is noise, not length.
MAX_NOISE = 0.25
REPEATS = 2
CORE_NAME = "lmopt-measure-core"  # Of the sockets that stand for a machine's cores.
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Progress = Callable[[str, float | None], None]
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
    return _run_process("evaluate", spec, threads, stage, progress)


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
    arrays = _run_process("latency", spec, threads, "latency", progress)
    latency: Latency = {
        batch: {name: arrays[f"{batch}_{name}"].tolist() for name in artifacts}
        for batch in ("b1", "b32")
    }
    return latency, bool(arrays["noisy"])


def _run_process(
    what: str, spec: dict[str, Any], threads: int, stage: str, progress: Progress | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output.npz"), Path(folder, "stderr")
        spec |= {"what": what, "threads": threads, "output": str(output)}
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec))
        # -P: a stray file in the working directory must not shadow a package.
        command = [sys.executable, "-P", "-m", "lmopt.measure", str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with (
            errors.open("w") as stderr,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    word, _, value = line.partition(" ")
                    if word == "progress" and progress is not None:
                        progress(stage, float(value))
            except BaseException:
                process.kill()
                raise
        if process.returncode == -signal.SIGKILL:  # The kernel's answer to a lack of memory.
            raise MemoryError("the measuring process was killed")
        if process.returncode != 0:
            lines = errors.read_text().strip().splitlines() or ["no message"]
            raise RuntimeError(f"measuring failed (exit {process.returncode}): {lines[-1]}")
        with np.load(output) as arrays:
            return dict(arrays)


def predict(
    session: Session, tokens: Tokens, pad_id: int, report: Callable[[float], None]
) -> Floats:
    """Logits (n, classes) of all texts, in batches of similar length."""
    order = np.argsort(tokens.lengths, kind="stable")
    parts = []
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        parts.append(session(*pad([tokens[i] for i in chosen], pad_id)))
        report((start + len(chosen)) / len(order))
    logits = np.empty((len(order), parts[0].shape[1]), np.float32)
    logits[order] = np.concatenate(parts)
    return logits


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


def _evaluate(spec: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
    artifact = Path(spec["artifact"])
    session = open_session(artifact, spec["threads"], spec["device"])
    tokens = load_tokens(Path(spec["tokens"]))
    splits = [tokens[name] for name in spec["splits"]]
    together = concatenate(splits)  # One pass: fewer half-filled batches.
    logits = predict(session, together, read_manifest(artifact).pad_id, report)
    ends = np.cumsum([len(split) for split in splits])
    return dict(zip(spec["splits"], np.split(logits, ends[:-1]), strict=True))


def _latency(spec: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
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


def _pin(threads: int) -> list[socket.socket]:
    """Stay on `threads` of the cores this process may use: on those that no other measurement of
    the machine has, or on the first ones where there are too few.

    Not every cluster binds its jobs, and all of a node would be timed on its first core. A core is
    taken as long as the sockets that are returned live: names of no file, which the kernel frees
    whatever ends their holder.
    """
    taken: dict[int, socket.socket] = {}
    if hasattr(os, "sched_setaffinity"):  # Linux only.
        cores = sorted(os.sched_getaffinity(0))
        for core in cores:
            if len(taken) < threads:
                name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                with contextlib.suppress(OSError):
                    name.bind(f"\0{CORE_NAME}-{core}")
                    taken[core] = name
        others = [core for core in cores if core not in taken]
        os.sched_setaffinity(0, [*taken, *others][:threads])
    return list(taken.values())


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the worker that started it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(path: str) -> None:
    """Do what the spec asks for and write the arrays it yields."""
    _die_with_parent()
    spec = json.loads(Path(path).read_text())
    cores = _pin(spec["threads"])
    reported = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal reported
        if time.monotonic() - reported >= 1:
            reported = time.monotonic()
            print(f"progress {fraction:.4f}", flush=True)

    work = {"evaluate": _evaluate, "latency": _latency}[spec["what"]]
    np.savez(spec["output"], **work(spec, report))
    del cores


if __name__ == "__main__":
    main(sys.argv[1])
