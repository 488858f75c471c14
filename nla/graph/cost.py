"""Multiply-adds of a graph for one sample: its matrix products and convolutions, where nearly all time goes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import onnx_ir as ir

from nla.graph import query
from nla.graph.inference import infer_shapes
from nla.graph.query import operand

Sizes = tuple[int, ...]


def multiply_adds(model: ir.Model, samples: int = 1) -> int | None:
    """Multiply-adds of one run on so many samples; None where the sizes of an operator are not known.

    Free sizes of the model's inputs are taken for the number of samples where they lead, and stay unknown
    elsewhere: `prepare` with the sizes of the data settles those. Products in bodies of loops and branches are
    sizes that are not known. The model's input shapes are changed.
    """
    for value in model.graph.inputs:
        if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([samples, *value.shape[1:]])
    infer_shapes(model)
    total = 0
    for node in model.graph:
        rule = _RULES.get(query.kind(node))
        cost = 0 if rule is None else rule(node)
        if cost is None or any(query.kind(inner) in _RULES for inner in query.inner_nodes(node)):
            return None
        total += cost
    return total


def _sizes(value: ir.Value | None) -> Sizes | None:
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) else None


def _output(node: ir.Node) -> Sizes | None:
    return _sizes(node.outputs[0])


def _product(left: int) -> Callable[[ir.Node], int | None]:
    """A matrix product whose left factor is input `left`: each output sums over the left one's last axis."""

    def cost(node: ir.Node) -> int | None:
        out, factor = _output(node), _sizes(operand(node, left))
        if out is None or not factor:
            return None
        return prod(out) * factor[-1]

    return cost


def _gemm(node: ir.Node) -> int | None:
    out, factor = _output(node), _sizes(operand(node, 0))
    if out is None or factor is None or len(factor) != 2:
        return None
    return prod(out) * factor[0 if query.integer(node, "transA") else 1]


def _convolution(weight: int, transposed: bool = False) -> Callable[[ir.Node], int | None]:
    """Every output sums over a filter; of a transposed one every input is spread by one."""

    def cost(node: ir.Node) -> int | None:
        over = _sizes(operand(node, 0)) if transposed else _output(node)
        filters = _sizes(operand(node, weight))
        return None if over is None or not filters else prod(over) * prod(filters[1:])

    return cost


def _recurrent(node: ir.Node) -> int | None:
    """Both products of every step: W [directions, gates·hidden, inputs] and R [directions, gates·hidden, hidden]."""
    data, inner, outer = (_sizes(operand(node, k)) for k in range(3))
    if data is None or len(data) != 3 or inner is None or outer is None:
        return None
    return prod(data[:2]) * (prod(inner) + prod(outer))


def _einsum(node: ir.Node) -> int | None:
    """Of an equation: the product of the sizes of all its letters."""
    equation = node.attributes.get("equation")
    terms = "" if equation is None else str(equation.value).replace(" ", "").partition("->")[0]
    sizes: dict[str, int] = {}
    for term, value in zip(terms.split(","), node.inputs, strict=False):
        shape = _sizes(value)
        if shape is None or len(shape) != len(term):
            return None
        sizes.update(zip(term, shape, strict=True))
    return prod(sizes.values())


_RULES: dict[str, Callable[[ir.Node], int | None]] = {
    "MatMul": _product(0),
    "MatMulInteger": _product(0),
    "QLinearMatMul": _product(0),
    "FusedMatMul": _product(0),
    "Gemm": _gemm,
    "Conv": _convolution(1),
    "FusedConv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _convolution(1, transposed=True),
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Einsum": _einsum,
}
