"""φ′ of every element-wise activation as nodes, by the formulas of `nla.activations`: from the left at a kink."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal

Slope = Callable[[Tape, ir.Node, ir.Value], ir.Value]
"""From x, the node's first input, to φ′(x)."""

_CLIPPED_BY_INPUT = 11
_CUBE = 0.044715
_OUTER = math.sqrt(2 / math.pi)


def _by(slope: Slope) -> Rule:
    """The rule of an activation with that slope."""

    def rule(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
        x = node.inputs[0]
        assert x is not None
        if any(map(tape.needs, query.operands(node)[1:])):
            raise refusal(node, "its parameters are computed by the network itself")
        return (tape.times(gradient, slope(tape, node, x)),)

    return rule


def _sigmoid(tape: Tape, x: ir.Value, factor: float, like: ir.Value) -> ir.Value:
    return tape.put("Sigmoid", tape.scaled(x, factor, like))


def _bump(tape: Tape, x: ir.Value, factor: float, like: ir.Value) -> ir.Value:
    """σ(z)·σ(-z) of z = factor·x: 1 - σ(z) would cancel far out."""
    return tape.times(_sigmoid(tape, x, factor, like), _sigmoid(tape, x, -factor, like))


def _plus(tape: Tape, value: ir.Value, number: float, like: ir.Value) -> ir.Value:
    return tape.put("Add", value, tape.number(number, like))


def _step(tape: Tape, x: ir.Value, below: float) -> ir.Value:
    above = tape.above(x, 0, x)
    if below == 0:
        return tape.flag(above, x)
    return tape.where(above, tape.number(1, x), tape.number(below, x), x)


def _relu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return _step(tape, x, 0)


def _leaky(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return _step(tape, x, query.real(node, "alpha", 0.01))


def _prelu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.where(tape.above(x, 0, x), tape.number(1, x), query.operands(node)[1], x)


def _exponential(tape: Tape, x: ir.Value, above: float, below: float, scale: float) -> ir.Value:
    """`above` for x > 0, else below·e^(x/scale); the exponent is kept at 0 or less."""
    low = tape.put("Neg", tape.put("Relu", tape.put("Neg", x)))
    power = tape.put("Exp", tape.scaled(low, 1 / scale, x))
    return tape.where(tape.above(x, 0, x), tape.number(above, x), tape.scaled(power, below, x), x)


def _elu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return _exponential(tape, x, 1, query.real(node, "alpha", 1.0), 1)


def _selu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    alpha = query.real(node, "alpha", 1.67326319217681884765625)
    gamma = query.real(node, "gamma", 1.05070102214813232421875)
    return _exponential(tape, x, gamma, gamma * alpha, 1)


def _celu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return _exponential(tape, x, 1, 1, query.real(node, "alpha", 1.0) or 1.0)


def _thresholded(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.flag(tape.above(x, query.real(node, "alpha", 1.0), x), x)


def _clip(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    """1 strictly between the ends."""
    if tape.opset >= _CLIPPED_BY_INPUT:
        low, high = query.operand(node, 1), query.operand(node, 2)
    else:
        low, high = (
            tape.number(query.real(node, key, 0.0), x) if key in node.attributes else None
            for key in ("min", "max")
        )
    flags = []
    if low is not None:
        flags.append(tape.flag(tape.put("Greater", x, low), x))
    if high is not None:
        flags.append(tape.flag(tape.put("Less", x, high), x))
    return tape.times(*flags) if flags else tape.number(1, x)


def _logistic(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return _bump(tape, x, 1, x)


def _tanh(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.scaled(_bump(tape, x, 2, x), 4, x)


def _hard_sigmoid(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    alpha, beta = query.real(node, "alpha", 0.2), query.real(node, "beta", 0.5)
    line = _plus(tape, tape.scaled(x, alpha, x), beta, x)
    inside = tape.times(
        tape.flag(tape.above(line, 0, x), x), tape.flag(tape.put("Less", line, tape.number(1, x)), x)
    )
    return tape.scaled(inside, alpha, x)


def _hard_swish(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    line = _plus(tape, tape.scaled(x, 1 / 3, x), 0.5, x)
    risen = tape.where(tape.put("Less", x, tape.number(3, x)), line, tape.number(1, x), x)
    return tape.times(risen, tape.flag(tape.above(x, -3, x), x))


def _softplus(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.put("Sigmoid", x)


def _softsign(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    below = _plus(tape, tape.put("Abs", x), 1, x)
    return tape.put("Reciprocal", tape.times(below, below))


def _mish(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    """tanh s + x·(1 - tanh² s)·σ(x), s = softplus(x)."""
    s = tape.put("Softplus", x)
    flat = tape.scaled(_bump(tape, s, 2, x), 4, x)
    return tape.put("Add", tape.put("Tanh", s), tape.times(x, flat, tape.put("Sigmoid", x)))


def _gelu(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return (
        _gelu_tanh(tape, node, x) if query.text(node, "approximate") == "tanh" else _gelu_erf(tape, node, x)
    )


def _gelu_erf(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    """Φ(x) + x·e^(-x²/2)/√(2π)."""
    share = _plus(tape, tape.put("Erf", tape.scaled(x, math.sqrt(0.5), x)), 1, x)
    bell = tape.put("Exp", tape.scaled(tape.times(x, x), -0.5, x))
    steep = tape.scaled(tape.times(x, bell), 1 / math.sqrt(2 * math.pi), x)
    return tape.put("Add", tape.scaled(share, 0.5, x), steep)


def _gelu_tanh(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    """σ(u) + x·σ(u)·σ(-u)·u′, u = 2·√(2/π)·(x + 0.044715·x³)."""
    if len(query.operands(node)) > 1:
        raise refusal(node, "a bias that the activation adds itself is not followed")
    square = tape.times(x, x)
    inner = tape.times(x, _plus(tape, tape.scaled(square, _CUBE, x), 1, x))
    slope = tape.scaled(_plus(tape, tape.scaled(square, 3 * _CUBE, x), 1, x), 2 * _OUTER, x)
    return _weighed(tape, x, tape.scaled(inner, 2 * _OUTER, x), slope)


def _weighed(tape: Tape, x: ir.Value, u: ir.Value, slope: ir.Value) -> ir.Value:
    """σ(u) + x·σ(u)·σ(-u)·slope: the derivative of x·σ(u)."""
    return tape.put("Add", tape.put("Sigmoid", u), tape.times(x, _bump(tape, u, 1, x), slope))


def _swish(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    alpha = query.real(node, "alpha", 1.702 if query.kind(node).endswith("QuickGelu") else 1.0)
    return _weighed(tape, x, tape.scaled(x, alpha, x), tape.number(alpha, x))


def _erf(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    bell = tape.put("Exp", tape.put("Neg", tape.times(x, x)))
    return tape.scaled(bell, 2 / math.sqrt(math.pi), x)


def _exp(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return node.outputs[0]


def _log(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.put("Reciprocal", x)


def _sqrt(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.put("Div", tape.number(0.5, x), node.outputs[0])


def _abs(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    below = tape.flag(tape.put("Less", x, tape.number(0, x)), x)
    return tape.put("Sub", tape.flag(tape.above(x, 0, x), x), below)


def _neg(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.number(-1, x)


def _reciprocal(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    y = node.outputs[0]
    return tape.put("Neg", tape.times(y, y))


def _pow(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    power = tape.constants.scalar(query.operand(node, 1))
    if power is None:
        raise refusal(node, "its exponent is no single constant")
    if power == 1:
        return tape.number(1, x)
    if power == 2:
        return tape.scaled(x, 2, x)
    if power == 3:
        return tape.scaled(tape.times(x, x), 3, x)
    return tape.scaled(tape.put("Pow", x, tape.number(power - 1, x)), power, x)


def _sin(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.put("Cos", x)


def _cos(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    return tape.put("Neg", tape.put("Sin", x))


def _flat(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    return (None,)


_SLOPES: dict[str, Slope] = {
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded,
    "Clip": _clip,
    "Sigmoid": _logistic,
    "Tanh": _tanh,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Mish": _mish,
    "Gelu": _gelu,
    "com.microsoft.Gelu": _gelu_erf,
    "com.microsoft.FastGelu": _gelu_tanh,
    "com.microsoft.QuickGelu": _swish,
    "Swish": _swish,
    "Erf": _erf,
    "Exp": _exp,
    "Log": _log,
    "Sqrt": _sqrt,
    "Abs": _abs,
    "Neg": _neg,
    "Reciprocal": _reciprocal,
    "Pow": _pow,
    "Sin": _sin,
    "Cos": _cos,
}

RULES: dict[str, Rule] = {
    **{kind: _by(slope) for kind, slope in _SLOPES.items()},
    **dict.fromkeys(("Floor", "Ceil", "Round", "Sign"), _flat),
}
