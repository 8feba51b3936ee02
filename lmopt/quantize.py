"""Make an artifact: convert a classifier to OpenVINO and store its weights at `bits`.

Embeddings are stored at the same width as everything else. FACTS behind the calls: `save_model`
halves the weights unless told not to; without `all_layers` embeddings stay at 8 bits.
"""

import logging
import math
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.artifact import Manifest, hash_files, write_manifest
from lmopt.config import Bits
from lmopt.prune import measured_sparsity
from lmopt.student import load_classifier, load_tokenizer
from lmopt.training import pad_id

VERSION = 2
MAX_GROUP_SIZE = 64
MIN_GROUP_SIZE = 8  # A 16-bit scale for fewer weights costs more than it gives.
MODEL_FILES = ("model.xml", "model.bin")
INPUTS = ("input_ids", "attention_mask")


class Logits(nn.Module):
    """The classifier as a function of its two inputs that returns the logits alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def convert(model: PreTrainedModel) -> Any:
    """Convert a classifier to an `openvino.Model` with dynamic batch and length."""
    import openvino as ov

    model.eval()
    model.set_attn_implementation("eager")
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS}
    example["attention_mask"][1, 4:] = 0
    shape = ov.PartialShape([-1, -1])
    with torch.inference_mode():
        converted = ov.convert_model(
            Logits(model),
            example_input=example,
            input=[(name, shape, ov.Type.i64) for name in INPUTS],
        )
    converted.outputs[0].get_tensor().set_names({"logits"})
    # The traced module's classes would keep its weights alive: 60 MB a trial in a long worker.
    torch.jit._state._clear_class_state()  # type: ignore[no-untyped-call]
    torch._C._jit_clear_class_registry()
    return converted


def group_size(widths: Iterable[int]) -> int:
    """How many weights share a scale: the largest number up to 64 that divides all widths.

    64 for BERT's 384 and 1536, 24 for rubert-tiny2's 312 and 600; -1 (one scale for a whole row)
    where the widths have no useful common divisor.
    """
    common = math.gcd(*widths)
    best = max(n for n in range(1, MAX_GROUP_SIZE + 1) if common % n == 0)
    return best if best >= MIN_GROUP_SIZE else -1


def weight_widths(model: PreTrainedModel) -> set[int]:
    """Row lengths of all matrices that are stored in few bits."""
    linear = {m.in_features for m in model.modules() if isinstance(m, nn.Linear)}
    return linear | {m.embedding_dim for m in model.modules() if isinstance(m, nn.Embedding)}


def compress(model: Any, bits: Bits, group: int) -> Any:
    """Store the weights of an `openvino.Model` in 8, 4, 3 or 2 bits, embeddings included.

    `group` weights share a scale (8 bits: a whole row).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    modes = {
        8: nncf.CompressWeightsMode.INT8_ASYM,
        4: nncf.CompressWeightsMode.INT4_ASYM,
        3: nncf.CompressWeightsMode.INT3_SYM,
        2: nncf.CompressWeightsMode.INT2_SYM,
    }
    options: dict[str, Any] = {}
    if bits < 8:
        options = {"group_size": group, "ratio": 1.0, "all_layers": True}
    with redirect_stdout(StringIO()):  # Its progress bars.
        return nncf.compress_weights(model, mode=modes[bits], **options)


def name_layers(model: Any) -> None:
    """Name the layers of an `openvino.Model` by their place, in place.

    Its own names count the models that this process converted before: the same weights would have
    another hash, and another size, in every trial.
    """
    model.set_friendly_name("model")
    for number, layer in enumerate(model.get_ordered_ops()):
        if layer.get_type_name() != "Parameter":
            layer.set_friendly_name(f"{layer.get_type_name()}_{number}")


def clear_padding(folder: Path) -> None:
    """Zero the unused half byte behind an odd number of 4-bit values: it holds whatever was there.

    Source: OpenVINO, supported types: u4, i4 and nf4 fill a byte from its lower half.
    """
    xml, weights = (folder / name for name in MODEL_FILES)
    with weights.open("r+b") as file:
        for constant in ElementTree.parse(xml).iter("data"):
            shape = [
                int(size) for size in constant.get("shape", "").split(",") if size.strip("?. ")
            ]
            if constant.get("element_type") in ("u4", "i4", "nf4") and math.prod(shape) % 2:
                last = int(constant.attrib["offset"]) + int(constant.attrib["size"]) - 1
                file.seek(last)
                byte = file.read(1)[0]
                file.seek(last)
                file.write(bytes([byte & 0x0F]))


def build_artifact(model_folder: Path, bits: Bits, max_length: int, folder: Path) -> None:
    """Write the artifact of a saved classifier at `bits` into `folder`."""
    import openvino as ov

    model = load_classifier(model_folder)
    label_names = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    model.config.save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    converted = convert(model)
    if bits < 16:
        converted = compress(converted, bits, group_size(weight_widths(model)))
    name_layers(converted)
    ov.save_model(converted, folder / MODEL_FILES[0], compress_to_fp16=bits == 16)
    clear_padding(folder)
    size_bytes, digest = hash_files(folder, MODEL_FILES)
    manifest = Manifest(
        runtime="openvino",
        bits=bits,
        precision="f32" if bits == 32 else None,
        inputs=INPUTS,
        max_length=max_length,
        pad_id=pad_id(model),
        label_names=label_names,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sparsity=measured_sparsity(model),
        files=MODEL_FILES,
        size_bytes=size_bytes,
        hash=digest,
    )
    write_manifest(folder, manifest)
