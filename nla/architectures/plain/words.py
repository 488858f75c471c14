"""`--layers` and `--activation`: what a user says of a plain network, read word by word.

fc1,fc2,out                             dense layers in this order
fc1:layout=io,fc2                       dense weights are [in, out]; oi: [out, in]
conv1:stride=1:pad=1                    a convolution; also :groups=2 and :dilation=2
conv1:stride=1:pad=1,bn1:eps=0.001      a BatchNorm directly behind a layer; the activation follows it
…,pool=max2,…  pool=avg2:stride=1:pad=1  pool=global      pooling; a flattening needs no word
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nla.architectures.functions import FUNCTIONS, Function, operator
from nla.architectures.plain.grouping import Layer
from nla.errors import UsageError, printable

ACTIVATIONS: dict[str, Function] = {
    **{
        name: FUNCTIONS[name]
        for name in (
            "relu",
            "leaky_relu",
            "gelu",
            "gelu_new",
            "silu",
            "relu6",
            "tanh",
            "sigmoid",
            "mish",
            "hardswish",
        )
    },
    "elu": operator("Elu", alpha=1.0),
    "selu": operator("Selu"),
    "celu": operator("Celu", alpha=1.0),
    "softplus": operator("Softplus"),
    "softsign": operator("Softsign"),
    "identity": operator("Identity"),
}
"""The activations by name; parameters are the usual defaults (a slope of 0.01 for leaky_relu)."""

_ALIASES = {
    "swish": "silu",
    "leakyrelu": "leaky_relu",
    "hard_swish": "hardswish",
    "gelu_tanh": "gelu_new",
    "linear": "identity",
    "none": "identity",
}
_OPTIONS = {
    "dense": ("layout",),
    "conv": ("stride", "pad", "dilation", "groups"),
    "batchnorm": ("eps",),
    "pool": ("stride", "pad"),
}
_POOL = re.compile(r"(?P<kind>max|avg)(?P<size>[0-9]+)|global", re.ASCII)
_LARGEST = 1 << 16
_EPSILON = 1e-5
"""PyTorch's default for BatchNorm, the writer of `running_mean`."""


@dataclass(frozen=True)
class Step:
    """A layer of the file, or a pooling, with what was said of it."""

    layer: Layer | None
    pool: str = ""
    """max, avg or global, where `layer` is None."""
    size: int = 0
    """Of the pooling's window."""
    options: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""
    """oi: [out, in], as PyTorch has it; io: [in, out], as Keras has it; empty: not said."""
    epsilon: float = _EPSILON

    @property
    def kind(self) -> str:
        """dense, conv, batchnorm or pool"""
        return "pool" if self.layer is None else self.layer.kind

    @property
    def weighted(self) -> bool:
        """Whether it is a dense layer or a convolution."""
        return self.kind in ("dense", "conv")


def steps_of(words: Sequence[str], layers: Mapping[str, Layer]) -> list[Step]:
    """The steps that `--layers` names, all layers of the file among them. Raises UsageError."""
    steps = [_step(word.strip(), layers) for word in words]
    named = [step.layer.prefix for step in steps if step.layer is not None]
    twice = sorted({prefix for prefix in named if named.count(prefix) > 1})
    if twice:
        raise UsageError(f"--layers names '{printable(twice[0])}' twice")
    left = [layer.called for prefix, layer in layers.items() if prefix not in named]
    if left:
        raise UsageError(
            f"--layers leaves out {', '.join(left[:10])}{' …' if len(left) > 10 else ''}: every layer of the file "
            "takes part, or what is computed is another network"
        )
    return steps


def activations_of(text: str, hidden: int) -> list[str]:
    """One name for each of `hidden` layers, from one for all or a list. Raises UsageError."""
    names = [_activation(word.strip()) for word in text.split(",")]
    if len(names) not in (1, hidden):
        raise UsageError(
            f"--activation names {len(names)} activations, and the network has {hidden} hidden layers: give one for "
            "all, or one for each; the last layer has none"
        )
    return names * hidden if len(names) == 1 else names


def _activation(word: str) -> str:
    plain = word.lower().replace("-", "_")
    found = _ALIASES.get(plain, plain)
    if found not in ACTIVATIONS:
        raise UsageError(f"--activation {printable(word)!r}: expected one of {', '.join(ACTIVATIONS)}")
    return found


def _step(word: str, layers: Mapping[str, Layer]) -> Step:
    name, *rest = word.split(":")
    options = dict(_option(word, part) for part in rest)
    if len(options) != len(rest):
        raise UsageError(f"--layers {printable(word)!r} gives an option twice")
    if name.startswith("pool="):
        return _pool(word, name.removeprefix("pool="), options)
    layer = layers.get(name)
    if layer is None:
        known = ", ".join(each.called for each in list(layers.values())[:20])
        raise UsageError(f"--layers: the file has no layer {printable(name)!r}; it has {known}")
    _only(word, layer.kind, options)
    layout, epsilon = options.pop("layout", ""), options.pop("eps", "")
    if layout not in ("", "oi", "io"):
        raise UsageError(f"--layers {printable(word)!r}: layout is oi ([out, in]) or io ([in, out])")
    numbers = {key: _number(word, key, text) for key, text in options.items()}
    if layer.kind == "conv" and not {"stride", "pad"} <= numbers.keys():
        raise UsageError(
            f"--layers {printable(word)!r}: stride and padding of a convolution are not in the file; say both, "
            f"as in {printable(name)}:stride=1:pad=0"
        )
    return Step(layer, options=numbers, layout=layout, epsilon=_real(word, epsilon) if epsilon else _EPSILON)


def _pool(word: str, text: str, options: dict[str, str]) -> Step:
    match = _POOL.fullmatch(text)
    _only(word, "pool", options)
    size = int(match["size"][:9]) if match and match["size"] else 0
    if match is None or (match["kind"] and not 1 <= size <= _LARGEST) or (not match["kind"] and options):
        raise UsageError(f"--layers {printable(word)!r}: a pooling is pool=max2, pool=avg2 or pool=global")
    numbers = {key: _number(word, key, value) for key, value in options.items()}
    return Step(None, pool=match["kind"] or "global", size=size, options=numbers)


def _option(word: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not value:
        raise UsageError(f"--layers {printable(word)!r}: expected NAME or NAME:option=value")
    return key, value


def _only(word: str, kind: str, options: Mapping[str, str]) -> None:
    known = _OPTIONS[kind]
    for key in options:
        if key not in known:
            raise UsageError(
                f"--layers {printable(word)!r}: no option {printable(key)!r} for a {kind} layer, expected "
                f"{', '.join(known)}"
            )


def _number(word: str, key: str, text: str) -> int:
    least = 0 if key == "pad" else 1
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not least <= int(text) <= _LARGEST:
        raise UsageError(
            f"--layers {printable(word)!r}: {key} is a whole number from {least} to {_LARGEST:,}"
        )
    return int(text)


def _real(word: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UsageError(f"--layers {printable(word)!r}: eps is a number between 0 and 1, as 0.001")
    return value
