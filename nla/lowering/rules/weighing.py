"""Gemm and MatMul by constants, from either side."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.joining import Concat, Sum
from nla.certificates.ops.linear import Scale
from nla.certificates.rounding import Floats
from nla.graph import query
from nla.lowering.rules import contracting
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample

_MOST = 64
"""Matrices of one MatMul, at most: heads."""


def _matmul(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    left, right = query.operand(node, 0), query.operand(node, 1)
    output = query.name(node.outputs[0])
    before, after = lowered.constant(left), lowered.constant(right)
    if before is None and after is None:
        contracting.matrices(node, lowered, full)
        return
    # a product from the left is one along the axis before the last: (W x)ᵀ = xᵀ Wᵀ
    _check_dequantised(right if after is not None else left)
    value, matrix, axis = (left, after, -1) if after is not None else (right, before, -2)
    assert matrix is not None
    source = lowered.known(value)
    shape = lowered.full[source]
    if matrix.ndim == 1:
        _vector(lowered, source, matrix, axis if len(shape) > 1 else -1, full, output)
        return
    if axis == -1:
        matrix = np.swapaxes(matrix, -1, -2)
    axis = axis if len(shape) > 1 else -1  # a vector is a column on the right, a row on the left
    matrices = matrix.reshape(-1, *matrix.shape[-2:])
    if len(matrices) == 1 and matrix.ndim <= max(len(shape), 2):
        lowered.weigh(source, output, matrices[0], None, axis)
    else:
        _several(lowered, source, matrix, axis, full, output)
    if lowered.full[output] != full:
        raise Unsound("whose output is of another shape than was inferred")


def _check_dequantised(weight: ir.Value | None) -> None:
    """Raise Unsound for a weight that DequantizeLinear makes: onnxruntime then multiplies in integers, and rounds the
    other operand to them (MatMulNBits)."""
    node = None if weight is None else weight.producer()
    while node is not None:
        if query.kind(node) == "DequantizeLinear":
            raise Unsound("by a weight that is dequantised, which a runtime may multiply in integers")
        read = query.operands(node)
        node = read[0].producer() if read else None


def _vector(lowered: Lowered, source: str, vector: Floats, axis: int, full: Shape, output: str) -> None:
    made = lowered.weigh(source, f"{output}\0one", vector[None], None, axis)
    lowered.gather(made, output, lowered.places(made).reshape(full))


def _several(lowered: Lowered, source: str, matrix: Floats, axis: int, full: Shape, output: str) -> None:
    """A matrix of its own for each slice along the axis before the last two: heads."""
    shape = lowered.full[source]
    lead = matrix.shape[:-2]
    if len(shape) < 3 or any(size != 1 for size in lead[:-1]) or shape[-3] not in (1, lead[-1]):
        raise Unsound("by several matrices")
    if lead[-1] > _MOST or len(sample(full)) < 3:
        raise Unsound("by several matrices")
    places, parts = lowered.places(source), []
    for k, each in enumerate(matrix.reshape(-1, *matrix.shape[-2:])):
        at = k if shape[-3] > 1 else 0
        part = lowered.gather(source, f"{output}\0slice{k}", places[..., at : at + 1, :, :])
        parts.append(lowered.weigh(part, f"{output}\0product{k}", each, None, axis))
    lowered.add(Concat(tuple(parts), output, len(sample(full)) - 3), full)


def _gemm(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    data, weight, added = (query.operand(node, k) for k in range(3))
    matrix, output = lowered.constant(weight), query.name(node.outputs[0])
    if matrix is None or matrix.ndim != 2:
        raise Unsound("of two tensors that both vary")
    _check_dequantised(weight)
    source = lowered.known(data)
    if query.integer(node, "transA"):
        source = lowered.gather(source, f"{output}\0turned", lowered.places(source).T)
    matrix = matrix if query.integer(node, "transB") else matrix.T
    alpha = query.real(node, "alpha", 1.0)
    matrix = matrix if alpha == 1 else matrix * alpha
    beta = query.real(node, "beta", 1.0)
    bias = lowered.constant(added)
    if added is None or beta == 0:
        lowered.weigh(source, output, matrix, None, -1)
    elif bias is not None and bias.size in (1, len(matrix)) and bias.shape[-1:] in ((), (1,), (len(matrix),)):
        lowered.weigh(source, output, matrix, np.broadcast_to(bias.ravel(), len(matrix)) * beta, -1)
    elif bias is not None:
        product = lowered.weigh(source, f"{output}\0product", matrix, None, -1)
        offset = (np.broadcast_to(bias, full) * beta).reshape(sample(full))
        lowered.add(Scale((product,), output, np.ones(()), offset), full)
    else:
        product = lowered.weigh(source, f"{output}\0product", matrix, None, -1)
        scaled, shape = f"{output}\0added", lowered.full[lowered.known(added)]
        lowered.add(Scale((lowered.known(added),), scaled, np.asarray(beta), np.zeros(())), shape)
        lowered.add(Sum((product, scaled), output, terms=matrix.shape[1] + 1), full)


RULES = {"MatMul": _matmul, "Gemm": _gemm}
