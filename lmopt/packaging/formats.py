"""Write a model into a folder for others: the measured artifact, ONNX or transformers.

ONNX and transformers folders hold no weights of 8 bits or less. They hold the model before its
weights were stored in few bits (`stored_bits`), which is measured again
(`lmopt.packaging.reload`).
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lmopt.errors import UserError
from lmopt.models.shape import SHAPE, entries_of
from lmopt.models.static import StaticConfig
from lmopt.runtimes.manifest import (
    Manifest,
    hash_files,
    read_manifest,
    transfer_bytes,
    write_manifest,
)
from lmopt.stages.cache import RECORD

Format = Literal["openvino", "onnx", "transformers"]
FORMATS: tuple[Format, ...] = ("openvino", "onnx", "transformers")
NATIVE: dict[str, Format] = {
    "openvino": "openvino",
    "onnxruntime": "onnx",
    "torch": "transformers",
}
LABELS = "labels.json"
CHECKSUMS = "SHA256SUMS"
ONNX_FILE = "model.onnx"
OPSET = 17
MIN_HALVED = 1024  # Tensors of fewer values (biases, constants) stay in 32 bits.


def stored_bits(form: str, bits: int) -> int:
    """Return the bits per weight in a format other than the measured one."""
    return 16 if form == "onnx" and bits <= 16 else 32


def copy_artifact(artifact: Path, folder: Path) -> None:
    """Copy an artifact unchanged."""
    shutil.copytree(artifact, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))


def write_labels(folder: Path, label_names: Sequence[str]) -> None:
    """Write the names of the classes, in the order of the logits."""
    text = json.dumps(list(label_names), ensure_ascii=False, indent=1)
    (folder / LABELS).write_text(text + "\n", encoding="utf-8")


def only_ours(folder: Path) -> str | None:
    """Return why `from_pretrained` cannot load a model without lmopt; None if it can."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] == StaticConfig.model_type:
        return "it has no class for static embeddings"
    entries = entries_of(config["model_type"])
    found = [entries[name].words for name in config.get(SHAPE) or {}]
    return f"it has no setting for {', '.join(found)}" if found else None


def write_transformers(model_folder: Path, folder: Path) -> None:
    """Write a folder for `from_pretrained`; `packaging.reload` checks that it loads."""
    copy_artifact(model_folder, folder)


def write_onnx(model_folder: Path, measured: Manifest, folder: Path) -> None:
    """Write a classifier as ONNX with dynamic batch and length, weights in 32 or 16 bits.

    `measured` is the manifest of the artifact that the trial was measured on.

    Raises:
        UserError: Torch cannot export the model.
    """
    from lmopt.models.loading import load_classifier, load_tokenizer

    model = load_classifier(model_folder)
    model.config.save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    bits = stored_bits("onnx", measured.bits)
    _export_onnx(model, measured.inputs, folder / ONNX_FILE)
    if bits == 16:
        halve_weights(folder / ONNX_FILE)
    size_bytes, digest = hash_files(folder, (ONNX_FILE,))
    fields = vars(measured) | {"runtime": "onnxruntime", "bits": bits, "files": (ONNX_FILE,)}
    fields |= {"precision": None, "size_bytes": size_bytes, "hash": digest}
    fields |= {"transfer_bytes": transfer_bytes(folder / ONNX_FILE)}
    write_manifest(folder, Manifest(**fields))


def _export_onnx(model: Any, inputs: Sequence[str], path: Path) -> None:
    import torch

    from lmopt.runtimes.tracing import Logits

    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in inputs}
    example["attention_mask"][1, 4:] = 0
    axes = {name: {0: "batch", 1: "length"} for name in inputs}
    model.set_attn_implementation("eager")
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # Tracing and this older exporter warn.
            torch.onnx.export(
                Logits(model).eval(),
                tuple(example[name] for name in inputs),
                str(path),
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_axes=axes | {"logits": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,  # The newer exporter needs the package onnxscript.
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        kind = model.config.model_type
        raise UserError(f"torch cannot export this {kind} model to ONNX: {reason}") from error


def halve_weights(path: Path) -> None:
    """Store the large fp32 weights of an ONNX file in 16 bits; computation stays in 32 bits."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < MIN_HALVED:
            continue
        name = weight.name
        half = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]  # A cast must come before the nodes that read it.
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def model_files(folder: Path) -> tuple[str, ...]:
    """Return the model files of an exported folder: the manifest's, or transformers' weights."""
    if (folder / "lmopt.json").exists():
        return read_manifest(folder).files
    return tuple(sorted(path.name for path in folder.glob("*.safetensors")))


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum -c` reads."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    (folder / CHECKSUMS).write_text("".join(lines))
