"""Write any classifier as one ONNX file, weights in 32 or 16 bits, for whatever reads ONNX.

The graph is that of the runtime's own artifacts, of the same opset: one exporter call, one set of
operators to test.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmopt.errors import UserError
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.runtimes.manifest import Manifest, hash_files, transfer_bytes, write_manifest
from lmopt.runtimes.onnxruntime.artifact import export
from lmopt.runtimes.onnxruntime.runtime import held_bits

FILE = "model.onnx"
MIN_HALVED = 1024  # Numbers; biases and constants stay as they are.


def write_onnx(model_folder: Path, measured: Manifest, folder: Path) -> None:
    """Write a classifier as ONNX with dynamic batch and length, weights in 32 or 16 bits.

    `measured` is the manifest of the artifact that the trial was measured on.

    Raises:
        ValueError: torch cannot export the model.
    """
    import onnx

    model = load_classifier(model_folder)
    model.config.save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    try:
        proto = export(model)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        kind = model.config.model_type
        raise UserError(f"torch cannot export this {kind} model to ONNX: {reason}") from error
    bits = held_bits(measured.bits)
    if bits == 16:
        halve_weights(proto)
    onnx.save(proto, folder / FILE)
    onnx.checker.check_model(str(folder / FILE))
    size_bytes, digest = hash_files(folder, (FILE,))
    fields = vars(measured) | {"runtime": "onnxruntime", "bits": bits, "files": (FILE,)}
    fields |= {"precision": None, "size_bytes": size_bytes, "hash": digest}
    fields |= {"transfer_bytes": transfer_bytes(folder / FILE)}
    write_manifest(folder, Manifest(**fields))


def halve_weights(proto: Any) -> None:
    """Store the large fp32 weights of a model in 16 bits; they are computed with in 32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < MIN_HALVED:
            continue
        name = weight.name
        half = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]  # What is cast must come before who reads it.
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
