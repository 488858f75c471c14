"""Gradients of convolutions, at what they read: each is the other with the same weights."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal
from nla.graph.backward.windows import windows


def _conv(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    weight = _constant_weight(tape, node)
    seen = windows(tape, node, tape.sizes(node, weight, 2))
    groups = query.integer(node, "group", 1)
    return (tape.put("ConvTranspose", gradient, weight, group=groups, **seen.transposed()),)


def _conv_transpose(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    weight = _constant_weight(tape, node)
    kernel = tape.sizes(node, weight, 2)
    axes = len(kernel)
    auto = query.text(node, "auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID") or query.integers(node, "output_shape"):
        raise refusal(node, "a ConvTranspose with auto_pad or output_shape is not followed")
    strides, dilations = (query.integers(node, key) or (1,) * axes for key in ("strides", "dilations"))
    more = query.integers(node, "output_padding") or (0,) * axes
    if any(extra >= stride for extra, stride in zip(more, strides, strict=False)):
        raise refusal(node, "its output padding is as large as its stride")
    pads = (query.integers(node, "pads") if auto == "NOTSET" else None) or (0,) * (2 * axes)
    made = tape.put(
        "Conv",
        gradient,
        weight,
        group=query.integer(node, "group", 1),
        kernel_shape=kernel,
        strides=list(strides),
        dilations=list(dilations),
        pads=list(pads),
    )
    return (made,)


def _constant_weight(tape: Tape, node: ir.Node) -> ir.Value:
    """The weights. Raises ModelError: they, or a bias, are computed from what a gradient is asked of."""
    if len(query.operands(node)) < 2:
        raise refusal(node, "it has no weights")
    if any(tape.needs(value) for value in query.operands(node)[1:]):
        raise refusal(node, "its weights are computed by the network itself")
    return query.operands(node)[1]


RULES: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
