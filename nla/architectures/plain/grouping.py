"""From tensor names to layers: which tensors belong together, and what kind of layer they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nla.architectures.builder import FLOATING
from nla.checkpoint.safetensors_file import Stored
from nla.errors import ModelError, printable

UNUSED = "num_batches_tracked"
"""A counter of PyTorch's BatchNorm that no result depends on."""

_LEAF = re.compile(r"(?:(?P<prefix>.*)[./])?(?P<leaf>[^./]+)", re.DOTALL)
_LEAVES = ("weight", "kernel", "bias", "running_mean", "running_var", UNUSED)
_DIGITS = re.compile(r"([0-9]+)")
_MOST = 2_000
"""Layers of the longest network that is read."""


@dataclass(frozen=True)
class Layer:
    """The tensors of one module."""

    prefix: str
    """What stands before `.weight`; may be empty."""
    kind: str
    """dense, conv or batchnorm"""
    weight: str
    """Name of the tensor; empty for a BatchNorm without one."""
    shape: tuple[int, ...]
    """Of the weight; of the running mean for a BatchNorm."""
    bias: str = ""
    bias_size: int | None = None
    """Length of the bias; None where there is none."""
    mean: str = ""
    variance: str = ""

    @property
    def called(self) -> str:
        """Its name for a reader."""
        return printable(self.prefix) or "(no prefix)"


def layers_of(tensors: Mapping[str, Stored]) -> dict[str, Layer]:
    """The layers by prefix, in natural order (2 before 10).

    Raises ModelError: a tensor that is no part of a dense layer, a convolution or a BatchNorm.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in tensors:
        prefix, leaf = _split(name)
        if leaf not in _LEAVES or (leaf == "kernel" and "weight" in groups.get(prefix, {})):
            raise _stranger(name)
        groups.setdefault(prefix, {})["weight" if leaf == "kernel" else leaf] = name
    if len(groups) > _MOST:
        raise ModelError(f"{len(groups):,} layers; a plain network of at most {_MOST:,} is read")
    found = {prefix: _layer(prefix, groups[prefix], tensors) for prefix in sorted(groups, key=natural_key)}
    if not any(layer.kind != "batchnorm" for layer in found.values()):
        raise ModelError(
            "no tensor of it is the weight of a layer: no name ends in .weight with 2 to 4 dimensions"
        )
    return found


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names as people number them.

    >>> sorted(["fc10", "fc9", "fc1"], key=natural_key)
    ['fc1', 'fc9', 'fc10']
    """
    parts = _DIGITS.split(name)
    return tuple((1, int(p[:18] or 0), p) if at % 2 else (0, 0, p) for at, p in enumerate(parts))


def _split(name: str) -> tuple[str, str]:
    match = _LEAF.fullmatch(name)
    return ("", name) if match is None else (match["prefix"] or "", match["leaf"])


def _stranger(name: str) -> ModelError:
    return ModelError(
        f"tensor '{printable(name)}' is no part of a plain network, whose tensors are called NAME.weight, NAME.bias, "
        "NAME.running_mean and NAME.running_var; give the network's graph with --graph"
    )


def _layer(prefix: str, names: dict[str, str], tensors: Mapping[str, Stored]) -> Layer:
    for leaf, name in names.items():
        if leaf != UNUSED and tensors[name].dtype not in FLOATING:
            raise ModelError(
                f"tensor '{printable(name)}' is of type {printable(tensors[name].dtype)}, and a weight is one of "
                f"{', '.join(FLOATING)}"
            )
    bias = tensors[names["bias"]].shape if "bias" in names else None
    if bias is not None and len(bias) != 1:
        raise ModelError(f"tensor '{printable(names['bias'])}' is {list(bias)}, and a bias has one dimension")
    if "running_mean" in names or "running_var" in names:
        return _batchnorm(prefix, names, tensors)
    if "weight" not in names:
        raise ModelError(
            f"'{printable(prefix)}' has {', '.join(f'.{leaf}' for leaf in names)} and no .weight: no layer of a plain "
            "network; give its graph with --graph"
        )
    name, shape = names["weight"], tensors[names["weight"]].shape
    kind = {2: "dense", 3: "conv", 4: "conv"}.get(len(shape))
    if kind is None or 0 in shape:
        why = (
            "a LayerNorm or another scale, perhaps"
            if len(shape) == 1
            else "empty, or of another kind of layer"
        )
        raise ModelError(
            f"tensor '{printable(name)}' is {list(shape)}: {why}; a plain network has weights of 2 dimensions "
            "(dense), 3 or 4 (convolutions), and BatchNorm with its running_mean; give its graph with --graph"
        )
    return Layer(prefix, kind, name, shape, names.get("bias", ""), bias[0] if bias else None)


def _batchnorm(prefix: str, names: dict[str, str], tensors: Mapping[str, Stored]) -> Layer:
    shapes = {tensors[name].shape for leaf, name in names.items() if leaf != UNUSED}
    needed = {"running_mean", "running_var"} <= names.keys() and ("weight" in names) == ("bias" in names)
    shape = next(iter(shapes))
    if not needed or len(shapes) > 1 or len(shape) != 1:
        told = ", ".join(
            f".{leaf} {list(tensors[name].shape)}" for leaf, name in names.items() if leaf != UNUSED
        )
        raise ModelError(
            f"'{printable(prefix)}' would be a BatchNorm and has {told}; expected were running_mean and running_var, "
            "weight and bias or neither, all of one length"
        )
    return Layer(
        *(prefix, "batchnorm", names.get("weight", ""), shape, names.get("bias", "")),
        mean=names["running_mean"],
        variance=names["running_var"],
    )
