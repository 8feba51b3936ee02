"""What is written for ONNX Runtime's own operators: rounded tables, products by block."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lmopt.runtimes.onnxruntime.artifact import (
    block_size,
    quantize_products_by_block,
    quantize_tables,
)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [16, 24, 33, 64, 312, 384])
def test_tables_are_rounded_to_half_a_step(bits: int, width: int) -> None:
    """ONNX Runtime reads back what `round_blocks` says it stored, to half a step."""
    table = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    table[7] = 0.0
    table[8] = np.abs(table[8])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"])],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", width])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    quantize_tables(proto, bits)
    assert [node.op_type for node in proto.graph.node] == ["GatherBlockQuantized"]
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    stored = session.run(None, {"ids": np.arange(50)})[0]
    own_bits = 8 if width % 2 else bits
    block = width if own_bits == 8 else block_size(width)
    for start in range(0, width, block):
        part, original = stored[:, start : start + block], table[:, start : start + block]
        low, high = original.min(axis=1).clip(max=0), original.max(axis=1).clip(min=0)
        step = (high - low) / (2**own_bits - 1)
        # The zero point is rounded too: at the ends of the range another half.
        assert (np.abs(part - original).max(axis=1) <= step * 1.001 + 1e-6).all()
        assert np.median(np.abs(part - original)[0]) <= step[0] / 2
        assert len(np.unique((part / np.maximum(step, 1e-9)[:, None]).round(2)[0])) <= 2**own_bits


def test_block_products_are_those_of_the_rounded_weights() -> None:
    """4 bits: the identity matrix shows the stored weights, two layers store a shared one once."""
    weight = np.random.default_rng(0).normal(size=(312, 40)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["first"]),
        helper.make_node("MatMul", ["x", "weight"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 312])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 40])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    quantize_products_by_block(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    stored = session.run(None, {"x": np.eye(312, dtype=np.float32)})[0] / 2
    block = block_size(312)
    for start in range(0, 312, block):
        part = weight[start : start + block]
        step = (part.max(axis=0).clip(min=0) - part.min(axis=0).clip(max=0)) / 15
        error = np.abs(stored[start : start + block] - part)
        assert (error <= step * 1.02).all()  # Half for the weight, half for the zero point.
        assert error.mean() < step.mean() / 3
    assert len(proto.graph.initializer) == 3  # Integers, scales, zero points.


def test_blocks_are_large_where_they_waste_little() -> None:
    widths = {384: 64, 1536: 64, 600: 64, 312: 64, 24: 32, 32: 32, 65: 32}
    assert {width: block_size(width) for width in widths} == widths
