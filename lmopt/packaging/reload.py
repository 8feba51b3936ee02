"""Load an exported folder as a stranger would, in a fresh process.

`python -m lmopt.packaging.reload SPEC.json` is that process: the format's own library reads the
folder (`lmopt.runtimes.base.Exporter.open`), on the tokens of the task's splits.
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
from lmopt.runtimes.registry import runtime_of_format

Floats = npt.NDArray[np.float32]


def evaluate_folder(
    folder: Path, form: str, tokens: Path, splits: Sequence[str], *, pad_id: int, threads: int
) -> dict[str, Floats]:
    """Logits (n, classes) of each split from a folder that was exported as `form`.

    Raises:
        ValueError: The folder cannot be loaded whole; one line.
    """
    with tempfile.TemporaryDirectory() as place:
        spec: dict[str, Any] = {
            "folder": str(folder),
            "form": form,
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


def main(path: str) -> None:
    """Compute the logits that the specification at `path` requests, and save them."""
    refuse_telemetry()
    spec: dict[str, Any] = json.loads(Path(path).read_text())
    exporter = runtime_of_format(spec["form"]).exporter
    assert exporter is not None, "only a model that was written anew is read back here"
    session = exporter.open(Path(spec["folder"]), spec["threads"])
    tokens = load_tokens(Path(spec["tokens"]))
    splits = [tokens[name] for name in spec["splits"]]
    logits = predict(session, concatenate(splits), spec["pad_id"], lambda _: None)
    ends = np.cumsum([len(split) for split in splits])[:-1]
    arrays: dict[str, Any] = dict(zip(spec["splits"], np.split(logits, ends), strict=True))
    np.savez(spec["output"], **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
