"""Compute what follows a model's last attention for the one token that its classifier reads.

BERT and its kin classify by the first token, so in the last layer only its query, its attention and
its feed-forward network have a use; keys and values are needed of all tokens. The logits are the
same; of a one-layer student's multiply-accumulates five sixths go.
"""

from typing import Any

import numpy as np

Edge = tuple[int, int]
"""An input's number, and which of its axes is the tokens' one"""
Nodes = dict[str, tuple[Any, int]]
"""Operations by name, each with the tokens' axis of its output"""
_UNARY = {
    "Gelu",
    "Tanh",
    "Relu",
    "Erf",
    "Sigmoid",
    "Swish",
    "HSwish",
    "Convert",
    "Sqrt",
    "Negative",
}
_BINARY = {"Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum"}


def keep_first_token(model: Any) -> int:
    """Narrow an `openvino.Model` in place; the number of operations that see one token now.

    An operation is narrowed if all that reads its result is; where others need all the tokens, a
    slice is put in between. Models that do not select token 0 stay as they are.
    """
    narrowed = 0
    for selection in [op for op in model.get_ops() if _selects_first(op)]:
        nodes = _narrowable(selection)
        slices: dict[tuple[str, int, int], Any] = {}
        for node, of_tokens in nodes.values():
            for number, axis in _edges(node, of_tokens) or []:
                source = node.input(number).get_source_output()
                name = source.get_node().get_name()
                if name not in nodes:
                    place = name, source.get_index(), axis  # A split has several outputs.
                    if place not in slices:
                        slices[place] = _slice(source, axis)
                    node.input(number).replace_source_output(slices[place].output(0))
            if node.get_type_name() == "Reshape":
                node.input(1).replace_source_output(_pattern(node).output(0))
        narrowed += len(nodes)
    model.validate_nodes_and_infer_types()
    return narrowed


def _selects_first(op: Any) -> bool:
    """Whether it is `states[:, 0]` of states (batch, length, width)."""
    if op.get_type_name() != "Gather" or op.input(0).get_partial_shape().rank.get_length() != 3:
        return False
    index, axis = (_constant(op.input(number)) for number in (1, 2))
    return (
        index is not None and axis is not None and index.size == 1 and not index.any() and axis == 1
    )


def _narrowable(selection: Any) -> Nodes:
    """The operations before a selection that may be narrowed."""
    blocked: set[str] = set()
    while True:
        nodes = _upstream(selection, blocked)
        # What anything else reads stays whole; with it what only leads to it.
        shared = {
            name
            for name, (node, axis) in nodes.items()
            if not all(
                _narrows(target, axis, selection, nodes)
                for target in node.output(0).get_target_inputs()
            )
        }
        if not shared:
            return nodes
        blocked |= shared


def _upstream(selection: Any, blocked: set[str]) -> Nodes:
    found: Nodes = {}
    to_visit = [(selection.input(0).get_source_output().get_node(), 1)]
    while to_visit:
        node, axis = to_visit.pop()
        name = node.get_name()
        edges = None if name in blocked else _edges(node, axis)
        if name in found or edges is None:
            continue
        found[name] = node, axis
        for number, axis_before in edges:
            to_visit.append((node.input(number).get_source_output().get_node(), axis_before))
    return found


def _narrows(target: Any, axis: int, selection: Any, nodes: Nodes) -> bool:
    """Whether an input is one of those that take a single token, along this axis."""
    name = target.get_node().get_name()
    if name == selection.get_name():
        return bool(target.get_index() == 0)
    if name not in nodes:
        return False
    return (target.get_index(), axis) in (_edges(*nodes[name]) or [])


def _edges(node: Any, axis: int) -> list[Edge] | None:
    """The inputs of which one token is enough for one token of the output; None: it needs more."""
    kind = node.get_type_name()
    if node.get_output_size() != 1:
        return None
    rank = node.output(0).get_partial_shape().rank.get_length()
    if kind in _UNARY:
        return [(0, axis)]
    if kind in _BINARY:
        ranks = [node.input(number).get_partial_shape().rank.get_length() for number in (0, 1)]
        edges = [(number, axis - (rank - ranks[number])) for number in (0, 1)]
        return [edge for edge in edges if edge[1] >= 0 and not _is_one(node, *edge)]
    if kind == "MVN":
        axes = _constant(node.input(1))
        over = None if axes is None else {int(a) % rank for a in axes.ravel()}
        return None if over is None or axis in over else [(0, axis)]
    if kind == "MatMul":
        rows = axis == rank - 2 and not node.get_attributes()["transpose_a"]
        return [(0, node.input(0).get_partial_shape().rank.get_length() - 2)] if rows else None
    if kind == "Transpose":
        order = _constant(node.input(1))
        return None if order is None else [(0, int(order[axis]))]
    if kind == "Reshape":
        return [(0, 1)] if axis == 1 and _splits_heads(node) else None
    if kind == "ScaledDotProductAttention":
        if axis != rank - 2 or node.get_attributes()["causal"]:
            return None
        if node.get_input_size() < 4 or _is_one(node, 3, -2):
            return [(0, axis)]
        return [(0, axis), (3, node.input(3).get_partial_shape().rank.get_length() - 2)]
    return None


def _splits_heads(node: Any) -> bool:
    """Whether it makes (batch, length, heads, size) of (batch, length, width), or the reverse."""
    before, after = node.input(0).get_partial_shape(), node.output(0).get_partial_shape()
    ranks = before.rank.get_length(), after.rank.get_length()
    heads = {3: after, 4: before}.get(ranks[0])
    return (
        sorted(ranks) == [3, 4] and heads is not None and heads[2].is_static and heads[3].is_static
    )


def _pattern(node: Any) -> Any:
    """The shape that a reshape of heads aims at, whatever the length is."""
    import openvino.opset13 as ops

    after = node.output(0).get_partial_shape()
    heads = after.rank.get_length() == 4
    tail = [after[2].get_length(), after[3].get_length()] if heads else [-1]
    node.set_special_zero(True)
    return ops.constant(np.array([0, 0, *tail], np.int64))


def _slice(source: Any, axis: int) -> Any:
    import openvino.opset13 as ops

    bounds = (ops.constant(np.array([value], np.int64)) for value in (0, 1, 1, axis))
    return ops.slice(source, *bounds)


def _is_one(node: Any, number: int, axis: int) -> bool:
    dimension = node.input(number).get_partial_shape()[axis]
    return bool(dimension.is_static and dimension.get_length() == 1)


def _constant(source: Any) -> Any:
    node = source.get_source_output().get_node()
    return node.get_data() if node.get_type_name() == "Constant" else None
