"""The short program of an exported model, which runs the model without lmopt."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lmopt.config.task import DEFAULT_KIND
from lmopt.runtimes.registry import runtime_of_format
from lmopt.tasks.registry import task_of

USAGE = "usage.py"
_HEAD = '''"""Prints the label of a text and its probability: python usage.py "some text"

Needs nothing but: pip install {packages}
"""

import json
import sys
from pathlib import Path

{imports}

here, text = Path(__file__).parent, " ".join(sys.argv[1:]) or sys.exit(__doc__)
labels = json.loads((here / "labels.json").read_text(encoding="utf-8"))
'''
_FAST = """tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation({max_length})
ids = np.array([tokenizer.encode(text).ids])
"""
_SLOW = """tokenizer = AutoTokenizer.from_pretrained(here)
ids = np.array([tokenizer(text, truncation=True, max_length={max_length})["input_ids"]])
"""


def usage_text(
    folder: Path,
    form: str,
    files: Sequence[str],
    max_length: int,
    precision: str | None,
    *,
    pad_id: int,
    pad_to_multiple_of: int = 0,
    kind: str = DEFAULT_KIND,
) -> str:
    """Return the text of `usage.py` for a folder of this format with these model files.

    The program truncates texts to `max_length` tokens. If `pad_to_multiple_of` is not 0, a runtime
    that compiles its models does so for texts padded with `pad_id` to a multiple of so many tokens.
    The program prints the answer of the task `kind`.
    """
    answer = task_of(kind).answer_code
    runtime = runtime_of_format(form)
    own = runtime.usage(files, max_length, precision, pad_id, pad_to_multiple_of)
    if own.is_whole:
        head = _HEAD.format(packages=" ".join(own.packages), imports="\n".join(own.imports))
        return head + own.statements + answer.torch
    fast = (folder / "tokenizer.json").exists()
    package = "tokenizers" if fast else "transformers"
    reader = "Tokenizer" if fast else "AutoTokenizer"
    imports = ["import numpy as np", *own.imports, f"from {package} import {reader}"]
    packages = " ".join([*own.packages, package, "numpy"])
    head = _HEAD.format(packages=packages, imports="\n".join(imports))
    ids = (_FAST if fast else _SLOW).format(max_length=max_length)
    return head + ids + own.statements + answer.numpy


def run_usage(folder: Path, text: str) -> tuple[str, float]:
    """Run `usage.py` in a separate process.

    Returns:
        The label and the probability that it prints.

    Raises:
        RuntimeError: It failed; the message has its last line.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", str(folder / USAGE), text],
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise RuntimeError(f"{USAGE} failed: {lines[-1]}")
    label, _, probability = done.stdout.strip().rpartition(" ")
    return label, float(probability)
