"""Whether the nodes that a graph writes an activation out with are that activation, to the last digits or nearly."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from nla.activations import Activation
from nla.certificates.envelopes import CLOSE, CURVES, bent
from nla.certificates.rounding import Floats
from nla.certificates.thresholds import plateau
from nla.graph import query
from nla.graph.activations import Pattern
from nla.lowering.folded import Folded

_POINTS = np.concatenate(
    [np.linspace(-60, 60, 121), np.linspace(-8, 8, 129), [-1e4, -1e3, 1e3, 1e4, -1e-3, 1e-3]]
)
_SAME = 2.0**-21
"""Relative distance, of max(1, |z|), that constants rounded to float32 can make."""


def distance(pattern: Pattern, folded: Folded, opset: int) -> float | None:
    """The largest |form(z) - φ(z)| / max(|z|, 1) over points of every size; None where the form cannot be computed.

    The form is a composition of few smooth functions whose only freedom is its constants, so that points tell: also
    those at which φ jumps or bends.
    """
    if pattern.activation is None:
        return None
    points = np.concatenate([_POINTS, _breaks(pattern.activation)])
    made_of = _form(pattern, folded, opset, points)
    if made_of is None:
        return None
    with np.errstate(all="ignore"):
        far = np.abs(made_of - pattern.activation.value(points))
        worst = float((far / np.maximum(np.abs(points), 1.0)).max())
    return worst if np.isfinite(worst) else None


def rests(pattern: Pattern, folded: Folded, opset: int, activation: Activation, threshold: float) -> bool:
    """Whether the form is as near to zero as φ at and below the threshold; constants that are off a little may not be.

    GELU with 0.502 in place of one half rises without end to the left. Where the form cannot be computed, one of
    straight pieces is taken for φ, for its constants were read from it.
    """
    points = np.append(_POINTS[threshold > _POINTS], threshold)
    made_of = _form(pattern, folded, opset, points)
    if made_of is None:
        return activation.name in CURVES and bent(activation)
    most = plateau(activation) + _SAME * np.maximum(np.abs(points), 1.0)
    return bool((np.abs(made_of) <= most).all())


def _breaks(activation: Activation) -> Floats:
    curve = CURVES.get(activation.name)
    return np.array([] if curve is None else curve.breaks(dict(activation.parameters)), np.float64)


def _form(pattern: Pattern, folded: Folded, opset: int, points: Floats) -> Floats | None:
    """[points] the nodes of a pattern at values of its z; None where they cannot be computed."""
    nodes = [node for node in _ordered(pattern) if query.kind(node) != "Constant"]
    made = {query.name(value) for node in nodes for value in node.outputs}
    feeds = {query.name(pattern.z): points.copy()}
    for node in nodes:
        for value in query.operands(node):
            name = query.name(value)
            if name in made or name in feeds:
                continue
            array = folded.array(value)
            if array is None:
                return None
            feeds[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    protos = [ir.to_proto(node) for node in nodes]
    for proto in protos:
        if proto.op_type == "Transpose":  # of a list of points there is nothing to turn
            proto.op_type = "Identity"
            proto.ClearField("attribute")
    graph = onnx.helper.make_graph(
        protos,
        "form",
        [onnx.helper.make_empty_tensor_value_info(name) for name in feeds],
        [onnx.helper.make_empty_tensor_value_info(query.name(pattern.output))],
    )
    domains = {"", *(node.domain for node in nodes)}
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(name, 1 if name else opset) for name in sorted(domains)],
    )
    try:
        with np.errstate(all="ignore"):
            (made_of,) = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the reference raises what it stumbles over
        return None
    return np.asarray(made_of, np.float64) if np.shape(made_of) == points.shape else None


def is_same(found: float) -> bool:
    """Whether the distance is that of rounded constants only."""
    return found <= _SAME


def is_close(found: float) -> bool:
    """Whether the distance is within the room that an envelope of a written-out form leaves."""
    return found <= CLOSE


def order(pattern: Pattern, rank: int) -> tuple[int, ...] | None:
    """Axis k of what the pattern makes is axis order[k] of z, of that rank; None where its parts are laid out apart."""
    laid = {pattern.z: tuple(range(rank))}
    for node in _ordered(pattern):
        read = {laid[value] for value in query.operands(node) if value in laid}
        if len(read) > 1:
            return None
        for found in read:
            turned = query.integers(node, "perm") or tuple(range(rank))[::-1]
            made = tuple(found[axis] for axis in turned) if query.kind(node) == "Transpose" else found
            laid.update(dict.fromkeys(node.outputs, made))
    return laid.get(pattern.output)


def _ordered(pattern: Pattern) -> list[ir.Node]:
    """The nodes of the pattern, each after those that it reads."""
    done: list[ir.Node] = []
    pending = list(pattern.nodes)
    while pending:
        left = [n for n in pending if any(v.producer() in pending for v in query.operands(n))]
        ready = [n for n in pending if n not in left]
        if not ready:
            return []
        done += ready
        pending = left
    return done
