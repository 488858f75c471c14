"""Gradients of normalisation, as it is computed at inference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.mapping import along
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal

_FLAT_SOFTMAX = 13
"""Before this opset a softmax is one over all axes from `axis` on."""
_SIMPLIFIED = ("SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization")
_SCALED_BY_CHANNEL = 21
"""Before this opset GroupNormalization has a scale a group."""


def _batch_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """One factor a channel: γ/√(variance + ε)."""
    if query.integer(node, "training_mode") or not query.integer(node, "spatial", 1):
        raise refusal(node, "it is in training mode, or normalises each position apart")
    given = query.operands(node)
    if len(given) != 5 or any(map(tape.needs, given[1:])):
        raise refusal(node, "its statistics are computed by the network itself")
    x, scale, _, _, variance = given
    epsilon = tape.number(query.real(node, "epsilon", 1e-5), variance)
    factor = tape.put("Div", scale, tape.put("Sqrt", tape.put("Add", variance, epsilon)))
    rank = len(tape.dims(node, x))
    return (tape.put("Mul", gradient, _by_channel(tape, factor, rank)),)


def _layer_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Over the axes from `axis` on."""
    x, scale = query.operands(node)[:2]
    delta = tape.times(gradient, _own(tape, node, scale))
    rank = len(tape.dims(node, x))
    axes = list(range(query.integer(node, "axis", -1) % rank, rank))
    return (_normal(tape, node, x, delta, axes),)


def _rms_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Likewise, about zero."""
    x, scale = query.operands(node)[:2]
    delta = tape.times(gradient, _own(tape, node, scale))
    rank = len(tape.dims(node, x))
    axes = list(range(query.integer(node, "axis", -1) % rank, rank))
    return (_normal(tape, node, x, delta, axes, centred=False),)


def _instance_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Over all positions of a channel."""
    x, scale = query.operands(node)[:2]
    rank = len(tape.dims(node, x))
    delta = tape.times(gradient, _by_channel(tape, _own(tape, node, scale), rank))
    return (_normal(tape, node, x, delta, list(range(2, rank))),)


def _group_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Over all channels and positions of a group: [N, groups, the rest] is normalised along its last axis."""
    x, scale = query.operands(node)[:2]
    dims, groups = tape.dims(node, x), query.integer(node, "num_groups")
    if groups < 1:
        raise refusal(node, "its groups have no number")
    grouped = tape.integers(0, groups, -1)
    if tape.opset >= _SCALED_BY_CHANNEL:
        gradient = tape.times(gradient, _by_channel(tape, _own(tape, node, scale), len(dims)))
        delta = tape.put("Reshape", gradient, grouped)
    else:
        scaled = tape.put("Reshape", _own(tape, node, scale), tape.integers(-1, 1))
        delta = tape.times(tape.put("Reshape", gradient, grouped), scaled)
    made = _normal(tape, node, tape.put("Reshape", x, grouped), delta, [2], like=x)
    return (tape.shaped_as(made, x),)


def _own(tape: Tape, node: ir.Node, scale: ir.Value) -> ir.Value:
    """The scale. Raises ModelError: it, or the shift, is made of what a gradient is asked of."""
    if any(map(tape.needs, query.operands(node)[1:])):
        raise refusal(node, "its scale or shift are computed by the network itself")
    return scale


def _by_channel(tape: Tape, value: ir.Value, rank: int) -> ir.Value:
    """[C] as [C, 1, …], beside a value of that rank whose channels lie on axis 1."""
    return tape.put("Reshape", value, tape.integers(-1, *[1] * (rank - 2)))


def _normal(
    tape: Tape,
    node: ir.Node,
    x: ir.Value,
    delta: ir.Value,
    axes: list[int],
    *,
    centred: bool = True,
    like: ir.Value | None = None,
) -> ir.Value:
    """x̂ = (x - µ)·r: r·(δ - mean δ - x̂·mean(δ·x̂)), where δ is the gradient at x̂; without the means of x and δ where
    it is not centred. `like` has the element type of x."""
    like = x if like is None else like

    def mean(value: ir.Value) -> ir.Value:
        return _mean(tape, value, axes)

    apart = tape.put("Sub", x, mean(x)) if centred else x
    epsilon = tape.number(query.real(node, "epsilon", 1e-5), like)
    root = tape.put("Sqrt", tape.put("Add", mean(tape.times(apart, apart)), epsilon))
    normal = tape.put("Div", apart, root)
    inner = tape.put("Sub", delta, mean(delta)) if centred else delta
    inner = tape.put("Sub", inner, tape.times(normal, mean(tape.times(delta, normal))))
    return tape.put("Div", inner, root)


def _lp_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """y = x/‖x‖ along an axis: (δ - y·Σ δ·y)/‖x‖; nothing where all are zero, as y is there."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if query.integer(node, "p", 2) != 2:
        raise refusal(node, "it divides by the sum of sizes (p = 1), which is not followed")
    axes = [query.integer(node, "axis", -1) % len(tape.dims(node, x))]
    root = tape.put("Sqrt", tape.summed(tape.times(x, x), axes))
    inner = tape.put("Sub", gradient, tape.times(y, tape.summed(tape.times(gradient, y), axes)))
    zero = tape.number(0, x)
    return (tape.where(tape.above(root, 0, x), tape.put("Div", inner, root), zero, x),)


def _local_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """y = x·s^-β, s = k + α/n·Σ x² over n channels: δ·s^-β - 2αβ/n·x·Σ δ·x·s^(-β-1), over those it is in the sum of."""
    x = node.inputs[0]
    assert x is not None
    channels, size = tape.sizes(node, x, 1)[0], query.integer(node, "size")
    alpha, beta = query.real(node, "alpha", 1e-4), query.real(node, "beta", 0.75)
    if size < 1:
        raise refusal(node, "its sums are of no channels")
    apart = np.arange(channels) - np.arange(channels)[:, None]
    near = ((apart >= -((size - 1) // 2)) & (apart <= size // 2)).astype(float)  # [of, in the sum]
    rank = len(tape.dims(node, x))
    squares = along(tape, node, tape.times(x, x), 1, near, rank, x)
    bias = tape.number(query.real(node, "bias", 1.0), x)
    total = tape.put("Add", bias, tape.scaled(squares, alpha / size, x))
    power = tape.put("Pow", total, tape.number(-beta, x))
    shared = tape.put("Div", tape.times(gradient, x, power), total)
    inner = tape.times(x, along(tape, node, shared, 1, near.T, rank, x))
    return (tape.put("Sub", tape.times(gradient, power), tape.scaled(inner, 2 * alpha * beta / size, x)),)


def _mean(tape: Tape, value: ir.Value, axes: list[int]) -> ir.Value:
    if tape.opset >= 18:
        return tape.put("ReduceMean", value, tape.integers(*axes), keepdims=1)
    return tape.put("ReduceMean", value, axes=axes, keepdims=1)


def _softmax(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """y·(δ - Σ δ·y)."""

    def of(delta: ir.Value, y: ir.Value, axis: int) -> ir.Value:
        inner = tape.put("Sub", delta, tape.summed(tape.times(delta, y), [axis]))
        return tape.times(inner, y)

    return (_by_softmax(tape, node, gradient, of),)


def _log_softmax(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """δ - softmax·Σ δ."""

    def of(delta: ir.Value, y: ir.Value, axis: int) -> ir.Value:
        return tape.put("Sub", delta, tape.times(tape.put("Exp", y), tape.summed(delta, [axis])))

    return (_by_softmax(tape, node, gradient, of),)


def _by_softmax(
    tape: Tape, node: ir.Node, gradient: ir.Value, of: Callable[[ir.Value, ir.Value, int], ir.Value]
) -> ir.Value:
    """What `of` makes of the gradient and of y along the axis, where need be with all axes from it on as one."""
    y = node.outputs[0]
    rank = len(tape.dims(node, y))
    axis = query.integer(node, "axis", -1 if tape.opset >= _FLAT_SOFTMAX else 1) % max(rank, 1)
    if tape.opset >= _FLAT_SOFTMAX or axis == rank - 1:
        return of(gradient, y, axis)
    flat, delta = (tape.put("Flatten", value, axis=axis) for value in (y, gradient))
    return tape.shaped_as(of(delta, flat, 1), y)


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    **dict.fromkeys(_SIMPLIFIED, _rms_norm),
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_norm,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
}
