"""Activation functions by the names that config.json gives them, written so that nla's graph reader knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nla.architectures.builder import Graph
from nla.errors import ModelError, printable

Function = Callable[[Graph, str, str], str]
"""(graph, z, name of the result) -> the result."""


def activate(g: Graph, z: str, activation: str, name: str) -> str:
    """φ(z) under this name. Raises ModelError for a φ that is not known."""
    return FUNCTIONS[known(activation)](g, z, name)


def known(activation: str) -> str:
    """The name again, where it is that of a known activation function. Raises ModelError."""
    if activation not in FUNCTIONS:
        raise ModelError(
            f"config.json: activation function '{printable(activation)}' is none that nla knows: "
            f"{', '.join(sorted(FUNCTIONS))}"
        )
    return activation


def operator(kind: str, **attributes: Any) -> Function:
    """The activation that one operator is."""
    return lambda g, z, name: str(g.op(kind, z, name=name, **attributes))


def _swish(alpha: float) -> Function:
    def function(g: Graph, z: str, name: str) -> str:
        return str(g.Mul(z, g.Sigmoid(z if alpha == 1.0 else g.Mul(z, alpha)), name=name))

    return function


_GELU = operator("Gelu")
_GELU_TANH = operator("Gelu", approximate="tanh")

FUNCTIONS: dict[str, Function] = {
    "gelu": _GELU,
    "gelu_python": _GELU,
    **dict.fromkeys(
        ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), _GELU_TANH
    ),
    "quick_gelu": _swish(1.702),
    "silu": _swish(1.0),
    "swish": _swish(1.0),
    "relu": operator("Relu"),
    "relu6": lambda g, z, name: str(g.Clip(z, 0.0, 6.0, name=name)),
    "leaky_relu": operator("LeakyRelu", alpha=0.01),
    "tanh": operator("Tanh"),
    "sigmoid": operator("Sigmoid"),
    "mish": operator("Mish"),
    "hardswish": operator("HardSwish"),
}
"""Those of transformers that nla can tell the neurons of; those that read like them under other names (`torch.nn`)."""
