"""Activations that are one operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.errors import ModelError
from nla.graph import query
from nla.graph.activations.pattern import Pattern
from nla.graph.constants import Constants


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation that the node is."""
    build = _OPERATORS.get(query.kind(node))
    z, output = query.operand(node, 0), query.output(node)
    if build is None or z is None or output is None or not is_real(z):
        return
    if query.kind(node) == "PRelu":
        yield _prelu(node, z, output, constants)
        return
    hidden = query.kind(node) in _BIASED and query.operand(node, 1) is not None
    try:
        yield Pattern(build(node), z, output, frozenset((node,)), hidden=hidden)
    except ModelError as fault:
        yield Pattern(None, z, output, frozenset((node,)), trouble=str(fault))


def is_real(value: ir.Value) -> bool:
    """False where the value is known to hold integers, booleans or text: shapes, not activations."""
    return value.dtype is None or value.dtype.is_floating_point()


def _prelu(node: ir.Node, z: ir.Value, output: ir.Value, constants: Constants) -> Pattern:
    slope = query.operand(node, 1)
    array = constants.array(slope)
    nodes = frozenset((node,))
    if array is None or not array.size or not np.isfinite(np.asarray(array, np.float64)).all():
        return Pattern(None, z, output, nodes, trouble="its slope is not a finite constant")
    bounds = {"slope_min": float(array.min()), "slope_max": float(array.max())}
    return Pattern(Activation.named("PRelu", **bounds), z, output, nodes, slope=slope)


def _plain(name: str, **defaults: float) -> Callable[[ir.Node], Activation]:
    """The activation with the node's attributes, or ONNX's defaults where it has none."""
    return lambda node: Activation.named(
        name, **{key: query.real(node, key, default) for key, default in defaults.items()}
    )


def _gelu(node: ir.Node) -> Activation:
    return Activation.named("Gelu", approximate=float(query.text(node, "approximate", "none") == "tanh"))


_BIASED = ("com.microsoft.BiasGelu", "com.microsoft.FastGelu")

_OPERATORS: dict[str, Callable[[ir.Node], Activation]] = {
    **{
        name: _plain(name)
        for name in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign", "Mish")
    },
    "LeakyRelu": _plain("LeakyRelu", alpha=0.01),
    "PRelu": _plain("PRelu"),
    "Elu": _plain("Elu", alpha=1.0),
    "Selu": _plain("Selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Celu": _plain("Celu", alpha=1.0),
    "ThresholdedRelu": _plain("ThresholdedRelu", alpha=1.0),
    "HardSigmoid": _plain("HardSigmoid", alpha=0.2, beta=0.5),
    "Swish": _plain("Swish", alpha=1.0),
    "Gelu": _gelu,
    "com.microsoft.Gelu": lambda node: Activation.named("Gelu"),
    "com.microsoft.BiasGelu": lambda node: Activation.named("Gelu"),
    "com.microsoft.FastGelu": lambda node: Activation.named("Gelu", approximate=1.0),
    "com.microsoft.QuickGelu": _plain("Swish", alpha=1.702),
}
