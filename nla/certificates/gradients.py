"""The gradient of a linear function of a tensor by the inputs, through the operators of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.network import Network
from nla.certificates.ops.base import Op
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Concat, Product, Sum
from nla.certificates.ops.linear import Linear, summed
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.products import InnerProducts
from nla.certificates.ops.smooth import Smooth
from nla.certificates.ops.softmax import Softmax
from nla.certificates.ops.steps import Choice

Values = NDArray[Any]
"""float64, or float32 in a search."""


def by_inputs(
    network: Network, values: Mapping[str, Values], tensor: str, A: Values, leak: float = 0.0
) -> dict[str, Values]:
    """d(Σ A·tensor) / d(input) for each input that it depends on, row by row; A and `values` [rows, *shape].

    `values` are those of every tensor before `tensor`, as `Network.forward` gives them; what is computed is of A's
    dtype. With `leak` slopes of activations below it count as that much: where ReLUs are shut, a search still sees
    which way they open.
    """
    held = {tensor: A}
    for op in reversed(network.before([tensor])):
        if op.output not in held or op.output in network.given:
            continue
        for name, part in zip(op.inputs, _parts(op, held.pop(op.output), values, network, leak), strict=True):
            made = part.astype(A.dtype, copy=False)
            held[name] = held[name] + made if name in held else made
    return {name: held[name] for name in network.inputs if name in held}


def _parts(  # noqa: PLR0911 - one return an operator
    op: Op, A: Values, values: Mapping[str, Values], network: Network, leak: float
) -> tuple[Values, ...]:
    shapes = [network.shapes[name] for name in op.inputs]
    if isinstance(op, Linear):
        return (op.transposed(A, shapes[0]),)
    if isinstance(op, Activate):
        slope = op.activation.derivative(values[op.inputs[0]])
        return (A * (np.maximum(slope, leak) if leak else slope),)
    if isinstance(op, Sum):
        return summed(A, shapes[0]), op.sign * summed(A, shapes[1])
    if isinstance(op, Concat):
        cuts = np.cumsum([shape[op.axis] for shape in shapes])[:-1]
        return tuple(np.split(A, cuts, axis=op.axis + 1))
    if isinstance(op, Product):
        x, y = values[op.inputs[0]], values[op.inputs[1]]
        return summed(A * y, shapes[0]), summed(A * x, shapes[1])
    if isinstance(op, MaxPool):
        return (op.routed(A, values[op.inputs[0]]),)
    if isinstance(op, InnerProducts):
        return op.gradient(A, *(values[name] for name in op.inputs))
    if isinstance(op, Smooth):
        return (op.gradient(A, values[op.inputs[0]]),)
    if isinstance(op, Choice):
        return op.gradient(A, *(values[name] for name in op.inputs))
    if isinstance(op, Softmax):
        return (op.gradient(A, values[op.inputs[0]]),)
    return tuple(np.zeros((len(A), *shape)) for shape in shapes)


def single(network: Network) -> Network:
    """The same network with weights in float32: for searches, whose results are checked in float64."""
    return replace(network, ops=tuple(_single(op) for op in network.ops))


def _single(op: Op) -> Op:
    found = {field.name: getattr(op, field.name) for field in fields(op)}  # type: ignore[arg-type]
    narrow = {
        name: value.astype(np.float32)
        for name, value in found.items()
        if isinstance(value, np.ndarray) and value.dtype == np.float64
    }
    return replace(op, **narrow) if narrow else op  # type: ignore[type-var]


def forward(network: Network, point: Mapping[str, Values], tensors: Sequence[str]) -> dict[str, Values]:
    """Every tensor up to these, and the inputs, in the dtype of the inputs; [rows, *shape]."""
    known = dict(point)
    dtype = next(iter(point.values())).dtype
    for op in network.before(tensors):
        known[op.output] = op.forward(*(known[name] for name in op.inputs)).astype(dtype, copy=False)
    return known
