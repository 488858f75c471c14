"""Weighted nodes: what multiplies its input with constants, and on which axes the channels lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.einsum import places, terms
from nla.graph.query import kind, operand


@dataclass(frozen=True)
class Spread:
    """Channels of a weighted node that lie on several axes each: heads and their channels, in an Einsum."""

    in_axes: tuple[int, ...]
    in_shape: tuple[int, ...]
    out_axes: tuple[int, ...]
    out_shape: tuple[int, ...]
    weight_in_axes: tuple[int, ...]
    """Axes of the weight in the order of `in_axes`."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """A node that makes output channels of input channels by constant weights. Axes from the end."""

    node: ir.Node
    data: ir.Value
    weight: ir.Value
    in_axis: int
    """Axis of the data that is contracted."""
    inputs: int
    """Its length."""
    out_axis: int
    outputs: int
    weight_in_axis: int
    weight_out_axis: int
    parameters: int
    """Weights of one output channel, its bias included."""
    bias: ir.Value | None = None
    groups: int = 1
    rank: int | None = None
    """Rank of the output, where the node alone tells."""
    spatial: bool = False
    """True for convolutions."""
    activation: Activation | None = None
    """φ that the node applies itself (fused operators)."""
    reads: int | None = None
    """Weights that read one input channel, where it is not all that the output channels have."""
    added: ir.Value | None = None
    """A computed tensor that the node adds to its product (a residual in a fused operator or a Gemm)."""

    spread: Spread | None = None
    """Where the channels lie, if not on one axis."""

    @property
    def in_axes(self) -> tuple[int, ...]:
        """The axes of the data that are contracted."""
        return (self.in_axis,) if self.spread is None else self.spread.in_axes

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Their lengths."""
        return (self.inputs,) if self.spread is None else self.spread.in_shape

    @property
    def out_axes(self) -> tuple[int, ...]:
        """The axes of the output on which its channels lie."""
        return (self.out_axis,) if self.spread is None else self.spread.out_axes

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Their lengths."""
        return (self.outputs,) if self.spread is None else self.spread.out_shape

    @property
    def weight_in_axes(self) -> tuple[int, ...]:
        """The axes of the weight that belong to `in_axes`."""
        return (self.weight_in_axis,) if self.spread is None else self.spread.weight_in_axes

    @property
    def parameters_per_input(self) -> int:
        """Weights that read one input channel."""
        if self.reads is not None:
            return self.reads
        return self.outputs * (self.parameters - (self.bias is not None)) // self.inputs


_READERS = 4
"""Readers of a value that are asked."""

Found = Weighted | str | None
"""A weighted node; or why it is none although it might have been, as a noun phrase; or None."""


def weighted(node: ir.Node, constants: Constants) -> Found:
    """The node as a weighted one."""
    rule = _RULES.get(kind(node))
    return None if rule is None or query.output(node) is None else rule(node, constants)


def read_width(value: ir.Value | None, constants: Constants) -> int | None:
    """Length of the value's last axis, from a weighted node that contracts it; None where there is none."""
    for reader in () if value is None else query.readers(value, _READERS):
        found = weighted(reader, constants)
        if isinstance(found, Weighted) and found.data is value and found.in_axis == -1:
            return found.inputs
    return None


def _unknown(node: ir.Node, why: str) -> str:
    return f"{kind(node)} '{query.node_name(node)}', {why}"


def _gemm(node: ir.Node, constants: Constants) -> Found:
    left, right, bias = (operand(node, i) for i in range(3))
    if left is None or right is None:
        return None
    given = (query.integer(node, "transA"), query.integer(node, "transB"))
    if not set(given) <= {0, 1}:
        return _unknown(node, "which transposes its factors as ONNX does not define")
    across = (given[0] == 1, given[1] == 1)
    if right in constants and left not in constants:
        shape, data, weight = constants.shape(right), left, right
        in_axis, out_axis, weight_out = (-2 if across[0] else -1), -1, (0 if across[1] else 1)
    elif left in constants and right not in constants:
        shape, data, weight = constants.shape(left), right, left
        in_axis, out_axis, weight_out = (-1 if across[1] else -2), -2, (1 if across[0] else 0)
    else:
        return _unknown(node, "whose two factors are both computed")
    if shape is None or len(shape) != 2:
        return _unknown(node, "whose weights have no known shape")
    inputs, outputs = shape[1 - weight_out], shape[weight_out]
    if not inputs or not outputs:
        return _unknown(node, "whose weights are empty")
    constant = bias in constants
    return Weighted(
        *(node, data, weight, in_axis, inputs, out_axis, outputs, 1 - weight_out, weight_out),
        parameters=inputs + constant,
        bias=bias if constant else None,
        rank=2,
        activation=_fused(node),
        added=None if constant else bias,
    )


def _matmul(node: ir.Node, constants: Constants) -> Found:
    left, right = operand(node, 0), operand(node, 1)
    if left is None or right is None:
        return None
    if any(query.integer(node, key) for key in ("transBatchA", "transBatchB")):
        return _unknown(node, "which transposes its batch axes")
    flips = (_flip(node, "transA"), _flip(node, "transB"))
    if right in constants and left not in constants:
        data, weight, in_axis, out_axis, side = left, right, (-2 if flips[0] else -1), -1, 1
    elif left in constants and right not in constants:
        data, weight, in_axis, out_axis, side = right, left, (-1 if flips[1] else -2), -2, 0
    else:
        return _unknown(node, "whose two factors are both computed")
    shape = constants.shape(weight)
    if shape is None or len(shape) < 2 or query.product(shape) == 0:
        return _unknown(node, "whose weights are not a matrix of known shape")
    if any(size != 1 for size in shape[:-2]):
        return _unknown(node, "whose weights are a stack of matrices")
    last = len(shape) - 1
    weight_out = last if side else last - 1
    if flips[side]:
        weight_out = 2 * last - 1 - weight_out
    weight_in = 2 * last - 1 - weight_out
    inputs, outputs = shape[weight_in], shape[weight_out]
    return Weighted(
        *(node, data, weight, in_axis, inputs, out_axis, outputs, weight_in, weight_out), parameters=inputs
    )


def _flip(node: ir.Node, key: str) -> bool:
    return kind(node) == "com.microsoft.FusedMatMul" and bool(query.integer(node, key))


def _einsum(node: ir.Node, constants: Constants) -> Found:
    letters, (left, right) = terms(node), (operand(node, 0), operand(node, 1))
    if letters is None or left is None or right is None:
        return None
    if left in constants:
        left, right, letters = right, left, letters.swapped()
    shape = constants.shape(right)
    if right not in constants or left in constants or shape is None or len(shape) != len(letters.right):
        return _unknown(node, "whose weights are not constants of known shape")
    size = dict(zip(letters.right, shape, strict=True))
    summed = "".join(c for c in letters.left if c in letters.right and c not in letters.out)
    made = "".join(c for c in letters.out if c in letters.right and c not in letters.left)
    together = set(letters.left) & set(letters.right) & set(letters.out)
    if not summed or not made or any(size[c] != 1 for c in together) or 0 in shape:
        return _unknown(node, "whose letters are not those of a layer")
    spread = Spread(
        *(places(summed, letters.left), tuple(size[c] for c in summed)),
        *(places(made, letters.out), tuple(size[c] for c in made)),
        tuple(letters.right.index(c) for c in summed),
    )
    inputs, outputs = query.product(spread.in_shape), query.product(spread.out_shape)
    return Weighted(
        *(node, left, right, spread.in_axes[0], inputs, spread.out_axes[0], outputs),
        *(spread.weight_in_axes[0], letters.right.index(made[0])),
        parameters=inputs,
        spread=spread if len(summed) > 1 or len(made) > 1 else None,
    )


def _nbits(node: ir.Node, constants: Constants) -> Found:
    data, weight, bias = operand(node, 0), operand(node, 1), operand(node, 5)
    inputs, outputs = query.integer(node, "K"), query.integer(node, "N")
    if data is None or weight is None or weight not in constants or inputs < 1 or outputs < 1:
        return _unknown(node, "whose weights are not constant")
    bias = bias if bias in constants else None
    return Weighted(
        *(node, data, weight, -1, inputs, -1, outputs, 1, 0),
        parameters=inputs + (bias is not None),
        bias=bias,
    )


def _quantised_matmul(node: ir.Node, constants: Constants) -> Found:
    integer = kind(node) == "MatMulInteger"
    left, right = operand(node, 0), operand(node, 1 if integer else 3)
    if left is None or right is None or left in constants or right not in constants:
        return _unknown(node, "whose second factor is not constant")
    shape = constants.shape(right)
    if shape is None or len(shape) != 2 or 0 in shape:
        return _unknown(node, "whose weights are not a matrix of known shape")
    return Weighted(node, left, right, -1, shape[0], -1, shape[1], 0, 1, parameters=shape[0])


def _quantised_gemm(node: ir.Node, constants: Constants) -> Found:
    data, weight, bias = operand(node, 0), operand(node, 3), operand(node, 6)
    shape = constants.shape(weight)
    if data is None or weight is None or shape is None or len(shape) != 2 or query.integer(node, "transA"):
        return _unknown(node, "whose weights are not a matrix of known shape")
    out = 0 if query.integer(node, "transB") else 1
    return Weighted(
        *(node, data, weight, -1, shape[1 - out], -1, shape[out], 1 - out, out),
        parameters=shape[1 - out] + (bias is not None),
        bias=bias,
        rank=2,
    )


_CONV_OPERANDS = {
    "Conv": (0, 1, 2),
    "com.microsoft.FusedConv": (0, 1, 2),
    "ConvInteger": (0, 1, -1),
    "QLinearConv": (0, 3, 8),
}


def _conv(node: ir.Node, constants: Constants) -> Found:
    data, weight, bias = (operand(node, at) if at >= 0 else None for at in _CONV_OPERANDS[kind(node)])
    shape, groups = constants.shape(weight), query.integer(node, "group", 1)
    if data is None or weight is None:
        return None
    if weight not in constants:
        return _unknown(node, "whose weights are computed")
    if shape is None or len(shape) < 3 or 0 in shape or groups < 1 or shape[0] % groups:
        return _unknown(node, "whose weights have no usable shape")
    bias = bias if bias in constants else None
    axis = 1 - len(shape)
    return Weighted(
        *(node, data, weight, axis, shape[1] * groups, axis, shape[0], 1, 0),
        parameters=query.product(shape[1:]) + (bias is not None),
        bias=bias,
        groups=groups,
        rank=len(shape),
        spatial=True,
        activation=_fused(node),
        added=operand(node, 3) if kind(node) == "com.microsoft.FusedConv" else None,
    )


def _conv_transpose(node: ir.Node, constants: Constants) -> Found:
    data, weight, bias = (operand(node, at) for at in range(3))
    shape, groups = constants.shape(weight), query.integer(node, "group", 1)
    if data is None or weight is None:
        return None
    if weight not in constants:
        return _unknown(node, "whose weights are computed")
    if shape is None or len(shape) < 3 or 0 in shape or groups < 1 or shape[0] % groups:
        return _unknown(node, "whose weights have no usable shape")
    bias = bias if bias in constants else None
    axis = 1 - len(shape)
    fan_in = shape[0] // groups * query.product(shape[2:])
    return Weighted(
        *(node, data, weight, axis, shape[0], axis, shape[1] * groups, 0, 1),
        parameters=fan_in + (bias is not None),
        bias=bias,
        groups=groups,
        rank=len(shape),
        spatial=True,
    )


_FUSED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "Celu", "ThresholdedRelu"), ("alpha",)),
    "Selu": ("alpha", "gamma"),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}


def _fused(node: ir.Node) -> Activation | None:
    """φ of com.microsoft.FusedConv and FusedGemm; None where there is none, or one not known here."""
    name = query.text(node, "activation")
    keys = _FUSED.get(name)
    if keys is None:
        return None
    params = query.reals(node, "activation_params")
    if params is not None:
        return Activation.named(name, **dict(zip(keys, params, strict=False)))
    given = {key: query.real(node, f"activation_{key}", math.nan) for key in keys}
    return Activation.named(name, **{key: value for key, value in given.items() if not math.isnan(value)})


_RULES: dict[str, Callable[[ir.Node, Constants], Found]] = {
    "Gemm": _gemm,
    "com.microsoft.FusedGemm": _gemm,
    "MatMul": _matmul,
    "com.microsoft.FusedMatMul": _matmul,
    "com.microsoft.MatMulNBits": _nbits,
    "Einsum": _einsum,
    "MatMulInteger": _quantised_matmul,
    "QLinearMatMul": _quantised_matmul,
    "com.microsoft.QGemm": _quantised_gemm,
    **dict.fromkeys(_CONV_OPERANDS, _conv),
    "ConvTranspose": _conv_transpose,
}
