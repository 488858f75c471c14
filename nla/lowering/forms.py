"""Whether the nodes that a graph writes an activation out with are that activation, to the last digits or nearly."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from nla.certificates.envelopes import CLOSE
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

    The form is a composition of few smooth functions whose only freedom is its constants, so that points tell.
    """
    if pattern.activation is None:
        return None
    nodes = [node for node in _ordered(pattern) if query.kind(node) != "Constant"]
    made = {query.name(value) for node in nodes for value in node.outputs}
    feeds = {query.name(pattern.z): _POINTS.copy()}
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
    if np.shape(made_of) != _POINTS.shape:
        return None
    with np.errstate(all="ignore"):
        far = np.abs(np.asarray(made_of, np.float64) - pattern.activation.value(_POINTS))
        worst = float((far / np.maximum(np.abs(_POINTS), 1.0)).max())
    return worst if np.isfinite(worst) else None


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
