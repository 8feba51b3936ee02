"""Make an artifact: convert a classifier to OpenVINO and store its matrices as planned.

NNCF compresses where activations count; codes by the weights alone are written here, as NNCF would,
since it takes one group size for a whole model and reads none that has 3- or 2-bit weights already.
`save_model` halves the weights unless told not to.
"""

import logging
import math
from collections.abc import Collection, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.artifact import Manifest, hash_files, write_manifest
from lmopt.config import Bits
from lmopt.examples import pad_id
from lmopt.models import load_classifier, load_tokenizer
from lmopt.rounding import Format, quantize
from lmopt.storage import Codebook, Plan, group_size, plan_storage
from lmopt.zeros import measured_sparsity

VERSION = 2
MODEL_FILES = ("model.xml", "model.bin")
INPUTS = ("input_ids", "attention_mask")

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""input_ids and attention_mask, both (batch, length)"""


class _Logits(nn.Module):
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
            _Logits(model),
            example_input=example,
            input=[(name, shape, ov.Type.i64) for name in INPUTS],
        )
    converted.outputs[0].get_tensor().set_names({"logits"})
    # The traced module's classes would keep its weights alive: 60 MB a trial in a long worker.
    torch.jit._state._clear_class_state()  # type: ignore[no-untyped-call]
    torch._C._jit_clear_class_registry()
    return converted


def weight_constants(model: Any) -> dict[str, Any]:
    """The constants of an `openvino.Model` that are parameters, by their names in torch."""
    constants = (op for op in model.get_ordered_ops() if op.get_type_name() == "Constant")
    names = ((op.get_friendly_name(), op) for op in constants)
    return {n.removeprefix("self.model."): op for n, op in names if n.startswith("self.model.")}


def store(model: Any, plan: Plan) -> None:
    """Store the matrices of an `openvino.Model` as planned, in place; others stay as they are."""
    constants = weight_constants(model)
    for name, stored in plan.items():
        if isinstance(stored, Codebook):
            _store_codebook(constants[name], stored)
        elif stored.bits == 16:
            _store_half(constants[name])
        elif stored.bits < 16:
            _store_quantized(constants[name], stored)


def _consumers(constants: Iterable[Any]) -> list[str]:
    """Names of the operations that use the constants, as NNCF wants them ignored."""
    names = []
    for constant in constants:
        for target in constant.output(0).get_target_inputs():
            node = target.get_node()
            if node.get_type_name() == "Convert":
                names += _consumers([node])
            else:
                names.append(node.get_friendly_name())
    return names


def store_by_activations(
    model: Any, stored: Format, names: set[str], rounding: str, calibration: Sequence[Batch]
) -> Any:
    """Let NNCF store the named matrices, scales and codes fitted to what the texts activate.

    `rounding` is "scale_estimation", "awq" or "gptq". Everything else must be stored afterwards:
    NNCF reads no model that has 3- or 2-bit weights already.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    modes = {
        (4, "int"): nncf.CompressWeightsMode.INT4_ASYM,
        (4, "nf4"): nncf.CompressWeightsMode.NF4,
        (3, "int"): nncf.CompressWeightsMode.INT3_SYM,
        (2, "int"): nncf.CompressWeightsMode.INT2_SYM,
    }
    others = [op for name, op in weight_constants(model).items() if name not in names]
    with redirect_stdout(StringIO()):  # Its progress bars.
        return nncf.compress_weights(
            model,
            mode=modes[stored.bits, stored.number_format],
            group_size=stored.group,
            ratio=1.0,
            all_layers=True,
            ignored_scope=nncf.IgnoredScope(names=_consumers(others), validate=False),
            dataset=nncf.Dataset(_named(calibration)),
            **{rounding: True},
        )


def _named(calibration: Sequence[Batch]) -> list[dict[str, Any]]:
    return [dict(zip(INPUTS, batch, strict=True)) for batch in calibration]


def quantize_activations(model: Any, names: set[str], calibration: Sequence[Batch]) -> Any:
    """Products of the named matrices in 8-bit integers, ranges of activations by `calibration`."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    others = [op for name, op in weight_constants(model).items() if name not in names]
    with redirect_stdout(StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(_named(calibration)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=_consumers(others), validate=False),
        )


def _store_codebook(constant: Any, stored: Codebook) -> None:
    """Put a lookup in place of a constant that holds few distinct values.

    Raises ValueError if there are more than the plan allows.
    """
    import openvino as ov
    import openvino.opset13 as ops

    codebook, indices = np.unique(constant.data, return_inverse=True)
    if len(codebook) > stored.clusters:
        raise ValueError(
            f"{constant.get_friendly_name()} has {len(codebook)} distinct values, "
            f"its codebook {stored.clusters}: cluster it first"
        )
    types = {1: "u1", 2: "u2", 3: "u3", 4: "u4", 6: "u6", 8: "u8"}
    kind = getattr(ov.Type, types[int(stored.bits_per_weight)])
    packed = ops.constant(indices.reshape(constant.shape).astype(np.uint8), dtype=kind)
    packed.set_friendly_name(constant.get_friendly_name())
    values = ops.constant(codebook.astype(np.float16))
    looked_up = ops.gather(values, ops.convert(packed, ov.Type.i32), ops.constant(np.int64(0)))
    _replace(constant, ops.convert(looked_up, ov.Type.f32))


def _store_quantized(constant: Any, stored: Format) -> None:
    """Put codes, scales and zero points in place of a matrix."""
    import openvino as ov
    import openvino.opset13 as ops

    half = ov.Type.f16
    quantized = quantize(torch.from_numpy(constant.data.copy()), stored)
    kind = getattr(ov.Type, f"u{stored.bits}")
    codes = ops.constant(quantized.codes.numpy().astype(np.uint8), dtype=kind)
    codes.set_friendly_name(constant.get_friendly_name())
    if quantized.levels is not None:
        table = ops.constant(quantized.levels.numpy().astype(np.float16))
        levels = ops.gather(table, ops.convert(codes, ov.Type.i32), ops.constant(np.int64(0)))
    else:
        levels = ops.convert(codes, half)
        if isinstance(quantized.zero, int):
            zero = ops.constant(np.float16(quantized.zero))
        else:
            zero = ops.convert(
                ops.constant(quantized.zero.numpy().astype(np.uint8), dtype=kind), half
            )
        levels = ops.subtract(levels, zero)
    product = ops.multiply(levels, ops.constant(quantized.scale.numpy()))
    shape = ops.constant(np.array(constant.shape, dtype=np.int64))
    _replace(constant, ops.convert(ops.reshape(product, shape, special_zero=False), ov.Type.f32))


def _store_half(constant: Any) -> None:
    import openvino as ov
    import openvino.opset13 as ops

    half = ops.constant(constant.data.astype(np.float16))
    half.set_friendly_name(constant.get_friendly_name())
    _replace(constant, ops.convert(half, ov.Type.f32))


def _replace(constant: Any, node: Any) -> None:
    for target in list(constant.output(0).get_target_inputs()):
        target.replace_source_output(node.output(0))


def build_artifact(
    model_folder: Path,
    max_length: int,
    folder: Path,
    *,
    bits: Bits,
    number_format: str = "int",
    embedding_bits: int | None = None,
    clusters: int | None = None,
    embedding_clusters: int | None = None,
    sensitive: Collection[str] = (),
    activation_bits: int | None = None,
    rounding: str = "nearest",
    calibration: Sequence[Batch] = (),
) -> None:
    """Write the OpenVINO artifact of a saved classifier into `folder`."""
    import openvino as ov

    model = load_classifier(model_folder)
    label_names = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    model.config.save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    plan = plan_storage(
        model,
        bits=bits,
        number_format=number_format,
        embedding_bits=embedding_bits,
        clusters=clusters,
        embedding_clusters=embedding_clusters,
        sensitive=sensitive,
    )
    converted = convert(model)
    modules = {f"{name}.weight": module for name, module in model.named_modules()}
    linear = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Linear) and name not in sensitive
    }
    if activation_bits is not None or rounding != "nearest":
        if activation_bits is not None:
            converted = quantize_activations(converted, set(linear), calibration)
        else:  # NNCF takes one group size for all of them.
            group = group_size(math.gcd(*(module.in_features for module in linear.values())))
            stored = Format(bits, number_format, group)
            converted = store_by_activations(converted, stored, set(linear), rounding, calibration)
        plan = {name: stored for name, stored in plan.items() if name not in linear}
    if bits < 16 or clusters is not None:  # 16 bits for the whole model are `save_model`'s work.
        store(converted, plan)
    ov.save_model(converted, folder / MODEL_FILES[0], compress_to_fp16=bits == 16 and not clusters)
    size_bytes, digest = hash_files(folder, MODEL_FILES)
    manifest = Manifest(
        runtime="openvino",
        bits=bits,
        precision="f32" if bits == 32 and not clusters else None,
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
