"""Gradients of convolutions, at what they read: each is the other with the same weights."""

from __future__ import annotations

from collections.abc import Sequence

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
    strides, dilations = (query.integers(node, key) or (1,) * axes for key in ("strides", "dilations"))
    more = query.integers(node, "output_padding") or (0,) * axes
    if any(extra >= stride for extra, stride in zip(more, strides, strict=False)):
        raise refusal(node, "its output padding is as large as its stride")
    pads = _taken_away(
        tape, node, [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)], strides, more
    )
    made = tape.put(
        "Conv",
        gradient,
        weight,
        group=query.integer(node, "group", 1),
        kernel_shape=kernel,
        strides=list(strides),
        dilations=list(dilations),
        pads=pads,
    )
    return (made,)


def _taken_away(
    tape: Tape, node: ir.Node, reach: Sequence[int], strides: Sequence[int], more: Sequence[int]
) -> list[int]:
    """The pads of a ConvTranspose; where it is given the size of its output, what is too much, in two parts."""
    axes, auto = len(reach), query.text(node, "auto_pad", "NOTSET") or "NOTSET"
    if not query.integers(node, "output_shape") and auto in ("NOTSET", "VALID"):
        return list((query.integers(node, "pads") if auto == "NOTSET" else None) or (0,) * (2 * axes))
    into, made = (tape.sizes(node, value, 2) for value in (node.inputs[0], node.outputs[0]))
    left = [(into[k] - 1) * strides[k] + more[k] + reach[k] - made[k] for k in range(axes)]
    if min(left) < 0:
        raise refusal(node, "its output is larger than what it makes")
    begins = [n // 2 if auto == "SAME_UPPER" else n - n // 2 for n in left]
    return [*begins, *(n - begin for n, begin in zip(left, begins, strict=True))]


def _constant_weight(tape: Tape, node: ir.Node) -> ir.Value:
    """The weights. Raises ModelError: they, or a bias, are computed from what a gradient is asked of."""
    if len(query.operands(node)) < 2:
        raise refusal(node, "it has no weights")
    if any(tape.needs(value) for value in query.operands(node)[1:]):
        raise refusal(node, "its weights are computed by the network itself")
    return query.operands(node)[1]


RULES: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
