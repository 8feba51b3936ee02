"""Load an exported ONNX or transformers folder without lmopt's loaders, in a new process.

`python -m lmopt.packaging.reload SPEC.json` is that process. It runs onnxruntime, or a model that
`from_pretrained` loads, on the tokens of the task's splits.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.data.tokens import concatenate, load_tokens
from lmopt.environment import refuse_telemetry
from lmopt.errors import UserError
from lmopt.measurement.evaluation import predict
from lmopt.runtimes.base import Ints, Session

Floats = npt.NDArray[np.float32]


def evaluate_folder(
    folder: Path, tokens: Path, splits: Sequence[str], *, pad_id: int, threads: int
) -> dict[str, Floats]:
    """Return the logits (n, classes) of each split from an exported folder.

    Raises:
        UserError: The folder cannot be loaded completely.
    """
    with tempfile.TemporaryDirectory() as place:
        spec: dict[str, Any] = {
            "folder": str(folder),
            "tokens": str(tokens),
            "splits": list(splits),
        }
        spec |= {"pad_id": pad_id, "threads": threads, "output": str(Path(place, "out.npz"))}
        path = Path(place, "spec.json")
        path.write_text(json.dumps(spec))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lmopt.packaging.reload", str(path)],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            raise UserError(lines[-1].removeprefix("ValueError: "))
        with np.load(str(spec["output"])) as arrays:
            return dict(arrays)


def open_onnx(path: Path, threads: int) -> Session:
    """Open an ONNX classifier in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(input_ids: Ints, attention_mask: Ints) -> Floats:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        logits: Floats = session.run(["logits"], inputs)[0]
        return logits

    return run


def open_transformers(folder: Path) -> Session:
    """Open a plain transformers classifier with `from_pretrained` alone.

    Raises:
        ValueError: A weight is missing, unexpected, or of another shape.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in found.get(what, ())):
            raise ValueError(f"{what.replace('_', ' ')}: {names[0]} ({len(names)} in all)")
    return torch_session(model)


def torch_session(model: Any) -> Session:
    """Return a session of a loaded classifier in its own precision."""
    import torch

    model.eval()

    @torch.inference_mode()
    def run(input_ids: Ints, attention_mask: Ints) -> Floats:
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        logits: Floats = model(input_ids=ids, attention_mask=mask).logits.float().numpy()
        return logits

    return run


def main(path: str) -> None:
    """Compute the logits that the specification at `path` requests, and save them."""
    refuse_telemetry()
    spec: dict[str, Any] = json.loads(Path(path).read_text())
    folder = Path(spec["folder"])
    onnx = sorted(folder.glob("*.onnx"))
    session = open_onnx(onnx[0], spec["threads"]) if onnx else open_transformers(folder)
    tokens = load_tokens(Path(spec["tokens"]))
    splits = [tokens[name] for name in spec["splits"]]
    logits = predict(session, concatenate(splits), spec["pad_id"], lambda _: None)
    ends = np.cumsum([len(split) for split in splits])[:-1]
    arrays: dict[str, Any] = dict(zip(spec["splits"], np.split(logits, ends), strict=True))
    np.savez(spec["output"], **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
