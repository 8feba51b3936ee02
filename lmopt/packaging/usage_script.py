"""The short program of an exported model, which runs the model without lmopt."""

import subprocess
import sys
from pathlib import Path

from lmopt.config.task import DEFAULT_KIND
from lmopt.errors import UserError
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
_OPENVINO = """model = ov.Core().compile_model(here / "{file}", "CPU"{options})
logits = model({{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0][0]
"""
_FIXED = """\
padding = [(0, 0), (0, min({max_length}, -(-ids.size // {multiple}) * {multiple}) - ids.size)]
inputs = {{
    "input_ids": np.pad(ids, padding, constant_values={pad_id}),
    "attention_mask": np.pad(np.ones_like(ids), padding),
}}
# One model for each length is faster than one for any: a server keeps those that it has compiled.
model = ov.Core().read_model(here / "{file}")
model.reshape({{name: array.shape for name, array in inputs.items()}})
logits = ov.compile_model(model, "CPU"{options})(inputs)[0][0]
"""
_ONNX = """model = ort.InferenceSession(here / "{file}", providers=["CPUExecutionProvider"])
logits = model.run(None, {{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0][0]
"""
_TRANSFORMERS = """tokenizer = AutoTokenizer.from_pretrained(here)
model = AutoModelForSequenceClassification.from_pretrained(here)
inputs = tokenizer(text, truncation=True, max_length={max_length}, return_tensors="pt")
with torch.inference_mode():
    logits = model(**inputs).logits[0].float()
"""


def usage_text(
    folder: Path,
    files: tuple[str, ...],
    max_length: int,
    precision: str | None,
    *,
    pad_id: int,
    pad_to_multiple_of: int = 0,
    kind: str = DEFAULT_KIND,
) -> str:
    """Return the text of `usage.py` for a folder with these model files.

    The program truncates texts to `max_length` tokens. If `pad_to_multiple_of` is not 0, it pads a
    text with `pad_id` to a multiple of so many tokens and compiles OpenVINO's model for that
    length. It prints the answer of the task `kind`.

    Raises:
        UserError: Only lmopt can run the files.
    """
    answer = task_of(kind).answer_code
    kinds = {Path(name).suffix: name for name in reversed(files)}
    if ".safetensors" in kinds:
        imports = (
            "import torch\n"
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer"
        )
        head = _HEAD.format(packages="torch transformers", imports=imports)
        return head + _TRANSFORMERS.format(max_length=max_length) + answer.torch
    fast = (folder / "tokenizer.json").exists()
    if ".xml" in kinds:
        options = f', {{"INFERENCE_PRECISION_HINT": "{precision}"}}' if precision else ""
        load, name = "import openvino as ov", "openvino"
        values = {"file": kinds[".xml"], "options": options, "max_length": max_length}
        body = (_FIXED if pad_to_multiple_of else _OPENVINO).format(
            **values, pad_id=pad_id, multiple=pad_to_multiple_of
        )
    elif ".onnx" in kinds:
        load, name = "import onnxruntime as ort", "onnxruntime"
        body = _ONNX.format(file=kinds[".onnx"])
    else:
        raise UserError(
            f"only lmopt runs {', '.join(files)}: use --format onnx or --format transformers"
        )
    package = "tokenizers" if fast else "transformers"
    kind = "Tokenizer" if fast else "AutoTokenizer"
    imports = f"import numpy as np\n{load}\nfrom {package} import {kind}"
    packages = f"{name} {package} numpy"
    head = _HEAD.format(packages=packages, imports=imports)
    return head + (_FAST if fast else _SLOW).format(max_length=max_length) + body + answer.numpy


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
