"""Which tensors of a graph can be negative, and which can be zero, told from its operators alone."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations import Pattern
from nla.graph.walk import Walk

_NEVER_NEGATIVE = frozenset(
    ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt", "Not", "Equal", "OneHot")
)
NEVER_ZERO = frozenset(("Sigmoid", "Softmax", "Softplus", "Exp"))
"""Operators that make what is above zero, whatever they read: as factors they silence nothing."""
_MOVING = frozenset(
    ("Identity", "Dropout", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")
)
_SIGN_KEEPING = frozenset(
    (
        *_MOVING,
        *("Tile", "Slice", "Split", "Gather", "Concat", "MaxPool", "GlobalMaxPool", "AveragePool"),
        *("GlobalAveragePool", "ReduceMean", "ReduceMax", "ReduceSum", "Add", "Sum", "Mul", "Max"),
        *("Mean", "Relu", "DepthToSpace", "SpaceToDepth", "QuantizeLinear", "DequantizeLinear"),
    )
)
"""Operators that make nothing negative of operands none of which is."""


class Signs:
    """Of every tensor whether it can be negative, and whether it can be zero."""

    def __init__(self, walk: Walk, patterns: Mapping[ir.Value, Pattern], non_negative: bool) -> None:
        """`non_negative`: whether the data are; `patterns`: the activations that were recognised, by output."""
        self._constants = walk.flow.constants
        self.never_negative: set[ir.Value] = set(walk.graph.inputs) if non_negative else set()
        self.never_zero: set[ir.Value] = set()
        seen = {value: found.activation for value, found in patterns.items() if not found.tentative}
        sites = {**seen, **{draft.value: draft.what.activation for draft in walk.drafts}}
        for node in walk.nodes:
            self._find(node, sites)

    def _find(self, node: ir.Node, sites: Mapping[ir.Value, Activation | None]) -> None:
        kind = query.kind(node)
        read = query.operands(node)[: 1 if kind in _MOVING else None]
        kept = kind in _SIGN_KEEPING and all(map(self.is_never_negative, read))
        for value in node.outputs:
            activation = sites.get(value)
            if activation.nonnegative if activation else kept or kind in _NEVER_NEGATIVE:
                self.never_negative.add(value)
        if kind in NEVER_ZERO or self._stays_off_zero(node):
            self.never_zero.update(node.outputs)

    def _stays_off_zero(self, node: ir.Node) -> bool:
        """Whether what a node makes is nowhere zero because of what it reads: γ/√(variance + ε)."""
        kind, read = query.kind(node), query.operands(node)
        above = [value in self.never_zero or self._is_constant_without_zeros(value) for value in read]
        if kind in ("Add", "Sum"):
            return any(above) and all(map(self.is_never_negative, read))
        first = kind in _MOVING or kind in ("Sqrt", "Reciprocal", "Pow")
        return bool(above) and (above[0] if first else kind in ("Div", "Mul") and all(above))

    def _is_constant_without_zeros(self, value: ir.Value) -> bool:
        constant = self._constants.array(value)
        return constant is not None and constant.dtype.kind == "f" and bool((constant != 0).all())

    def is_never_negative(self, value: ir.Value) -> bool:
        """Whether a tensor is never negative; shapes, axes and other whole numbers count as such."""
        if value in self.never_negative:
            return True
        constant = self._constants.array(value)
        if constant is None or constant.dtype.kind not in "iufb":
            return False
        return constant.dtype.kind != "f" or bool((constant >= 0).all())
