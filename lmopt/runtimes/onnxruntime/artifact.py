"""Make an ONNX Runtime artifact: export a classifier and store its weights at `bits`.

32: as they are. 16: half floats that are widened when the file is loaded, since ONNX Runtime has no
half-precision products for x86: half the bytes, the speed of 32. 8: products in integers, with a
scale per column of the weights and one per call of the activations; a scale per embedding. 4:
blocks of weights with a scale and a zero point, embeddings too.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from lmopt.config.base import Bits
from lmopt.models.loading import load_classifier
from lmopt.runtimes.base import INPUTS
from lmopt.runtimes.packing import pack
from lmopt.runtimes.tracing import Logits, example_inputs, forget_traced_classes

# Weights beside the graph: one file would end at protobuf's 2 GB.
MODEL_FILES = ("model.onnx", "model.onnx.data")
# The first with Gelu, which ONNX Runtime would have to find in five operators otherwise, and the
# last that this exporter knows. Exported files have it too; ONNX Runtime reads it since 1.17.
OPSET = 20
BLOCKS = (32, 64)  # Sizes for which ONNX Runtime has 4-bit kernels; powers of two.
MIN_WIDTH = 16  # A narrower table (a bias per head) would pay more for scales than it saves.
INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: activations in 8 bits, as at `bits` 8.
DOMAIN = "com.microsoft"


def build_artifact(model_folder: Path, max_length: int, folder: Path, *, bits: Bits) -> None:
    """Write the ONNX Runtime artifact of a saved classifier into `folder`."""
    import onnx

    model = load_classifier(model_folder)
    proto = export(model)
    if bits == 8:
        proto = quantize_products(proto)
    elif bits == 4:
        quantize_products_by_block(proto)
    if bits < 16:
        quantize_tables(proto, bits)
    if bits < 32:
        store_half(proto, min_rank=1 if bits == 16 else 2)
    onnx.save_model(
        proto, folder / MODEL_FILES[0], save_as_external_data=True, location=MODEL_FILES[1]
    )
    pack(
        model,
        model_folder,
        max_length,
        folder,
        runtime="onnxruntime",
        bits=bits,
        precision="f32" if bits == 32 else None,
        inputs=INPUTS,
        # Tensors of under 1 KB stay in the graph: a tiny model has no file of weights.
        files=tuple(name for name in MODEL_FILES if (folder / name).exists()),
    )


def export(model: PreTrainedModel) -> Any:
    """The classifier as an `onnx.ModelProto` with dynamic batch and length."""
    import onnx

    model.eval()
    model.set_attn_implementation("eager")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # About the exporter's age; its successor gives the same graph in ten times the time.
        warnings.simplefilter("ignore")
        path = Path(folder, MODEL_FILES[0])
        torch.onnx.export(
            Logits(model).eval(),
            tuple(example_inputs().values()),
            path,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in INPUTS},
            opset_version=OPSET,
            dynamo=False,
        )
        proto = onnx.load(path)
    forget_traced_classes()
    remove_identities(proto)
    return proto


def remove_identities(proto: Any) -> None:
    """Let layers that share a weight (ALBERT) read it directly, not through an Identity node."""
    sources = {n.output[0]: n.input[0] for n in proto.graph.node if n.op_type == "Identity"}
    outputs = {output.name for output in proto.graph.output}
    for node in proto.graph.node:
        node.input[:] = [_source(name, sources) for name in node.input]
    kept = [n for n in proto.graph.node if n.op_type != "Identity" or n.output[0] in outputs]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _source(name: str, sources: dict[str, str]) -> str:
    while name in sources:
        name = sources[name]
    return name


def quantize_tables(proto: Any, bits: int) -> None:
    """Store embedding tables in 8 bits, a scale per row, or in 4 bits, a scale per block."""
    for name, table in float_matrices(proto).items():
        gathers = [n for n in proto.graph.node if n.op_type == "Gather" and n.input[0] == name]
        width = table.shape[1]
        if not gathers or width < MIN_WIDTH:
            continue
        own_bits = 8 if width % 2 else bits  # In 4 bits, two weights of a row share a byte.
        block = 1 << (width - 1).bit_length() if own_bits == 8 else block_size(width)
        weights, *scales = _add_parts(proto, name, round_blocks(table, own_bits, block))
        options = {"bits": own_bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
        for node in gathers:
            _replace(node, "GatherBlockQuantized", [weights, node.input[1], *scales], options)
    _tidy(proto)


def round_blocks(
    table: npt.NDArray[np.float32], bits: int, block: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A table (rows, width) in unsigned integers, with a scale and a zero point per block.

    Two 4-bit integers share a byte, the first one in its lower half.
    Source: ONNX Runtime, contrib operators, com.microsoft.GatherBlockQuantized.
    """
    rows, width = table.shape
    blocks = np.pad(table, ((0, 0), (0, -width % block))).reshape(rows, -1, block)
    low, high = blocks.min(axis=-1).clip(max=0), blocks.max(axis=-1).clip(min=0)
    levels = 2**bits - 1
    scale = np.where(high > low, high - low, 1) / np.float32(levels)
    zero_point = np.round(-low / scale)
    integers = np.round(blocks / scale[..., None]) + zero_point[..., None]
    stored = integers.clip(0, levels).astype(np.uint8).reshape(rows, -1)[:, :width]
    return _packed(stored, bits), scale.astype(np.float32), _packed(zero_point, bits)


def _packed(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    stored: npt.NDArray[np.uint8] = values.astype(np.uint8)
    if bits == 4:
        stored = np.pad(stored, ((0, 0), (0, stored.shape[1] % 2)))
        stored = np.bitwise_or(stored[:, ::2], stored[:, 1::2] << 4).astype(np.uint8)
    return stored


def block_size(width: int) -> int:
    """How many of a row's weights share a scale: 64, or 32 where that pads the row by less."""
    return min(BLOCKS, key=lambda block: -(-width // block) * (4 * block + 32 + 4))


def quantize_products(proto: Any) -> Any:
    """Matrix products in 8-bit integers; weights symmetric, with a scale per column."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Else it advises, on stderr, to run passes that change nothing here.
    onnx.helper.set_model_props(proto, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_FILES[0])
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
        return onnx.load(path)


def quantize_products_by_block(proto: Any) -> None:
    """Weights of matrix products in 4 bits, a scale and a zero point per block of a column.

    Source: ONNX Runtime, contrib operators, com.microsoft.MatMulNBits. Its own quantizer stores a
    weight that several layers share (ALBERT) as often as it is used.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel

    ONNXModel(proto).replace_gemm_with_matmul()
    for name, weight in float_matrices(proto).items():
        products = [n for n in proto.graph.node if n.op_type == "MatMul" and n.input[1] == name]
        if not products:
            continue
        inner, outer = weight.shape
        block = block_size(inner)
        padded = np.pad(weight.T, ((0, 0), (0, -inner % block)))
        integers, scale, zero_point = round_blocks(padded, 4, block)
        arrays = (integers.reshape(outer, -1, block // 2), scale, zero_point)
        parts = _add_parts(proto, name, arrays)
        for node in products:
            inputs = [node.input[0], *parts]
            options = {"K": inner, "N": outer, "bits": 4, "block_size": block}
            _replace(node, "MatMulNBits", inputs, options | {"accuracy_level": INT8_PRODUCTS})
    _tidy(proto)


def store_half(proto: Any, *, min_rank: int) -> None:
    """Store floats of at least `min_rank` dimensions in 16 bits; products stay in 32."""
    from onnx import TensorProto, helper, numpy_helper

    floats = [t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT]
    for tensor in (t for t in floats if len(t.dims) >= min_rank):
        half = numpy_helper.to_array(tensor).astype(np.float16)
        cast = helper.make_node(
            "Cast", [f"{tensor.name}_half"], [tensor.name], to=TensorProto.FLOAT
        )
        tensor.CopyFrom(numpy_helper.from_array(half, f"{tensor.name}_half"))
        proto.graph.node.insert(0, cast)


def float_matrices(proto: Any) -> dict[str, npt.NDArray[np.float32]]:
    """The constants with two dimensions of a model, by name."""
    from onnx import TensorProto, numpy_helper

    constants = (t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT)
    return {t.name: numpy_helper.to_array(t) for t in constants if len(t.dims) == 2}


def _add_parts(proto: Any, name: str, arrays: tuple[npt.NDArray[Any], ...]) -> list[str]:
    """Add integers, scale and zero point of the constant `name`; return their names."""
    from onnx import numpy_helper

    names = [f"{name}_{part}" for part in ("integers", "scale", "zero_point")]
    for part, array in zip(names, arrays, strict=True):
        proto.graph.initializer.append(numpy_helper.from_array(array, part))
    return names


def _replace(node: Any, operator: str, inputs: list[str], options: dict[str, int]) -> None:
    """Make a node another operator of ONNX Runtime's own, with the same outputs."""
    from onnx import helper

    node.op_type, node.domain = operator, DOMAIN
    del node.input[:], node.attribute[:]
    node.input.extend(inputs)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in options.items())


def _tidy(proto: Any) -> None:
    """Drop constants that nobody reads any more; declare ONNX Runtime's operators."""
    from onnx import helper

    used = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    if DOMAIN not in {opset.domain for opset in proto.opset_import}:
        proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
