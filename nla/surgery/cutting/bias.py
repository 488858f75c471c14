"""Where the constant goes that cut channels leave to their reader: its bias, one made for it, or an Add behind."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.weighted import Weighted
from nla.surgery.cutting.requests import Array
from nla.surgery.cutting.work import Unfit, Work, named


def add_to_bias(work: Work, layer: Weighted, left: Array, at: int | None) -> None:
    """Add `left` [outputs that stay] to what the node makes; `at`: which of its operands is a bias."""
    node = layer.node
    if at is None:
        _behind(work, layer, left)
        return
    scaled = left if "Gemm" not in node.op_type else _unscaled(node, left)
    if scaled is None:
        _behind(work, layer, left)
    elif query.operand(node, at) is None:
        work.requests.constants[node, at] = scaled.astype(computed_type(work, layer))
    elif query.operand(node, at) in work.constants:
        work.check_editable(node, at)
        work.requests.add(node, at, _aligned(scaled, layer.out_axis if "Gemm" in node.op_type else -1))
    elif query.text(node, "activation"):
        raise Unfit(f"{named(node)} has a bias that is computed")
    else:
        _behind(work, layer, left)


def _unscaled(node: ir.Node, left: Array) -> Array | None:
    """What must stand in a Gemm's third operand for its beta to make `left` of it; None where it makes nothing."""
    beta = query.real(node, "beta", 1.0)
    return None if beta == 0 else left / beta


def _behind(work: Work, layer: Weighted, left: Array) -> None:
    """Into the Add that is the node's bias, where there is one, else into a new one."""
    node, made = layer.node, layer.node.outputs[0]
    if query.text(node, "activation"):
        raise Unfit(f"{named(node)} has no bias before its activation")
    aligned = _aligned(left, layer.out_axis)
    reader = query.sole_reader(made)
    partner = None if reader is None else query.other(reader, made)
    if reader is not None and query.kind(reader) == "Add" and partner in work.constants:
        shape = work.constants.shape(partner)
        if shape is not None and np.broadcast_shapes(shape, _length_at(layer)) == shape:
            place = next(at for at, value in enumerate(reader.inputs) if value is partner)
            work.check_editable(reader, place)
            work.requests.add(reader, place, aligned)
            return
    work.requests.additions[node] = aligned.astype(computed_type(work, layer))


def _length_at(layer: Weighted) -> tuple[int, ...]:
    return (layer.outputs, *[1] * (-layer.out_axis - 1))


def _aligned(left: Array, axis: int) -> Array:
    return left.reshape(-1, *[1] * (-axis - 1))


def computed_type(work: Work, layer: Weighted) -> np.dtype[np.float32]:
    """The type that the node computes in."""
    kind = layer.data.dtype
    if kind is not None:
        return np.dtype(kind.numpy())
    weight = work.array(layer.weight)
    return np.dtype(np.float32) if weight is None else weight.dtype
