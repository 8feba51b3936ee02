"""How an OpenVINO model holds its matrices: codes, scales and codebooks in place of constants.

NNCF writes the same graphs, but takes one group size for a whole model and reads none that has 3-
or 2-bit weights already.
"""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from lmopt.errors import UserError
from lmopt.weights.plan import Codebook, Plan
from lmopt.weights.rounding import Format, quantize

MODEL_FILES = ("model.xml", "model.bin")


def weight_constants(model: Any) -> dict[str, Any]:
    """The constants of an `openvino.Model` that are parameters, by their names in torch."""
    constants = (op for op in model.get_ordered_ops() if op.get_type_name() == "Constant")
    names = ((op.get_friendly_name(), op) for op in constants)
    return {n.removeprefix("self.model."): op for n, op in names if n.startswith("self.model.")}


def store(model: Any, plan: Plan) -> None:
    """Store the matrices of an `openvino.Model` as planned, in place; others stay as they are.

    So does a matrix that the converter computed something from (DeBERTa's normalized distances).
    """
    constants = weight_constants(model)
    for name in [name for name in plan if name in constants]:
        constant, stored = constants[name], plan[name]
        if isinstance(stored, Codebook):
            _store_codebook(constant, stored)
        elif stored.bits == 16:
            _store_half(constant)
        elif stored.bits < 16:
            _store_quantized(constant, stored)


def _store_codebook(constant: Any, stored: Codebook) -> None:
    """Put a lookup in place of a constant that holds few distinct values.

    Raises ValueError if there are more than the plan allows.
    """
    import openvino as ov
    import openvino.opset13 as ops

    codebook, indices = np.unique(constant.data, return_inverse=True)
    if len(codebook) > stored.clusters:
        raise UserError(
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
