"""The program that comes with an exported model: a short program that runs without lmopt."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lmopt.runtimes.registry import runtime_of_format

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
_TAIL = """shares = np.exp(logits - np.logaddexp.reduce(logits))
print(f"{labels[shares.argmax()]} {shares.max():.4f}")
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
) -> str:
    """The text of `usage.py` for a folder of this format with these model files.

    Texts of more than `max_length` tokens are cut. With `pad_to_multiple_of` tokens, a runtime that
    compiles its models does so for texts padded with `pad_id` to such a length.
    """
    runtime = runtime_of_format(form)
    own = runtime.usage(files, max_length, precision, pad_id, pad_to_multiple_of)
    if own.is_whole:
        head = _HEAD.format(packages=" ".join(own.packages), imports="\n".join(own.imports))
        return head + own.statements
    fast = (folder / "tokenizer.json").exists()
    package = "tokenizers" if fast else "transformers"
    kind = "Tokenizer" if fast else "AutoTokenizer"
    imports = ["import numpy as np", *own.imports, f"from {package} import {kind}"]
    packages = " ".join([*own.packages, package, "numpy"])
    head = _HEAD.format(packages=packages, imports="\n".join(imports))
    ids = (_FAST if fast else _SLOW).format(max_length=max_length)
    return head + ids + own.statements + _TAIL


def run_usage(folder: Path, text: str) -> tuple[str, float]:
    """Run `usage.py` in a process of its own; the label and the probability that it prints.

    Raises RuntimeError with its last line if it fails.
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
