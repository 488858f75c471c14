"""Resize between elements: a fixed matrix along each axis, where its weights are known to the last digit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.rounding import Floats
from nla.graph import query
from nla.lowering.rules import moving
from nla.lowering.rules.base import Lowered, Shape, Unsound

_ROUND = 1 << 10
"""Places between elements that are whole multiples of 1 / _ROUND are computed without rounding."""


def _resized(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    if (query.text(node, "mode") or "nearest") != "linear":
        moving.RULES[node.op_type](node, lowered, full)
        return
    if query.integer(node, "antialias") or query.text(node, "keep_aspect_ratio_policy") not in (
        "",
        "stretch",
    ):
        raise Unsound("that is no interpolation between neighbours alone")
    source, output = lowered.known(query.operand(node, 0)), query.name(node.outputs[0])
    shape = lowered.full[source]
    given = moving.factors(node, lowered, len(shape))
    if given is not None and not np.array_equal(given * np.asarray(shape), full):
        raise Unsound("by a factor that does not give whole elements")
    changed = [axis for axis, (new, old) in enumerate(zip(full, shape, strict=True)) if new != old]
    if not changed:
        lowered.gather(source, output, lowered.places(source))
        return
    if changed[0] == 0:
        raise Unsound("along the axis of the samples")
    for axis in changed:
        made = output if axis == changed[-1] else f"{output}\0{axis}"
        matrix = _matrix(_places(node, lowered.opset, full[axis], shape[axis]), shape[axis])
        source = lowered.weigh(source, made, matrix, None, axis)


def _places(node: ir.Node, opset: int, new: int, old: int) -> Floats:
    """[new] where each element lies between the old ones, inside them. Raises Unsound."""
    how = query.text(node, "coordinate_transformation_mode") or "half_pixel"
    how = "asymmetric" if node.op_type == "Upsample" or opset < moving.WITH_ROI else how
    scale = new / old
    at = np.arange(new, dtype=np.float64)
    if how == "align_corners":
        places = at * (old - 1) / max(new - 1, 1)
    elif how == "asymmetric":
        places = at / scale
    elif how in ("half_pixel", "pytorch_half_pixel") and (how == "half_pixel" or new > 1):
        places = (at + 0.5) / scale - 0.5
    else:
        raise Unsound(f"with {how} coordinates")
    if (places * _ROUND % 1 != 0).any():
        raise Unsound("to places between elements that are rounded")
    return np.clip(places, 0, old - 1)


def _matrix(places: Floats, old: int) -> Floats:
    """[new, old] the share of each old element in a new one."""
    below = np.minimum(np.floor(places).astype(np.int64), max(old - 2, 0))
    share, matrix = places - below, np.zeros((len(places), old))
    rows = np.arange(len(places))
    matrix[rows, below] = 1 - share
    matrix[rows, np.minimum(below + 1, old - 1)] += share
    return matrix


RULES = {"Resize": _resized, "Upsample": _resized}
