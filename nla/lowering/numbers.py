"""Which tensors lie behind weights that are not finite: NaN passes every normalisation and every bound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.lowering.folded import Folded

_INFINITE = frozenset(("Clip", "Equal", "Greater", "Less", "Max", "Min", "Pad", "Where"))
"""Operators that only choose or compare: an infinite operand is a bound that is left open, or a mask."""
_BELOW = frozenset(("Add", "Sub"))
"""Of these -∞ is the mask of an attention."""


def behind_unfit_weights(nodes: Iterable[ir.Node], constants: Folded) -> frozenset[str]:
    """Names of the tensors of which an operator before them, in the order of `nodes`, reads such a constant."""
    found: set[str] = set()
    for node in nodes:
        read = query.operands(node)
        if any(query.name(value) in found for value in read) or any(
            _unfit(constants.weight(value), query.kind(node)) for value in read if value in constants
        ):
            found.update(query.name(value) for value in node.outputs if value.name)
    return frozenset(found)


def _unfit(weight: np.ndarray | None, kind: str) -> bool:
    if weight is None or weight.dtype.kind not in "fV" or np.isfinite(weight).all():
        return False
    if kind in _INFINITE:
        return bool(np.isnan(weight).any())
    return not (kind in _BELOW and bool((weight < np.inf).all()))
