"""A forward graph and its backward pass in one: the gradient of a loss at any tensors on the way to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.errors import ModelError, printable
from nla.graph import query
from nla.graph.backward import (
    activations,
    convolving,
    dense,
    joining,
    losses,
    mapping,
    moving,
    normalising,
    pooling,
    reducing,
)
from nla.graph.backward.tape import FLOATS, OLDEST, Gradients, Rule, Tape, refusal
from nla.graph.constants import Constants
from nla.graph.rewrite import top_level
from nla.graph.shapes import Shapes
from nla.site import Input

RULES: dict[str, Rule] = {
    **dense.RULES,
    **convolving.RULES,
    **normalising.RULES,
    **reducing.RULES,
    **pooling.RULES,
    **joining.RULES,
    **moving.RULES,
    **mapping.RULES,
    **activations.RULES,
}
"""By operator, how a gradient goes through it."""


_OF_SIZES = frozenset((*query.SIZES, "RandomNormalLike", "RandomUniformLike", "EyeLike"))
"""Operators whose outputs follow the size of what they read, and not its values."""


@dataclass(frozen=True)
class Backward:
    """A graph that computes gradients."""

    model: ir.Model
    """The forward graph and the backward pass; the gradients are among its values, not its outputs."""
    gradients: dict[str, str]
    """By tensor that was asked for, the tensor with its gradient, of the same shape; left out where none arrives."""
    output: str
    """The tensor that the loss is a function of: logits, where a softmax is at the end."""
    output_gradient: str
    """The tensor with the gradient there."""
    output_sizes: tuple[int | str | None, ...]
    """Its sizes, as far as they are known."""
    fed: Input | None
    """An input besides the model's: `losses.TARGET` (one-hot labels) or `losses.SEED`."""
    stopped: Mapping[str, str]
    """By tensor that was asked for, why no gradient comes as far as it, a sentence: an operator has no rule."""


def backward_graph(
    model: ir.Model, wanted: Collection[str], *, loss: str = losses.CROSS_ENTROPY, output: str | None = None
) -> Backward:
    """The gradients of the loss of each sample at the `wanted` tensors, as nodes behind a copy of the graph.

    Samples lie along the first axis of the output, and each gradient is that of the loss of its own sample: nothing is
    divided by their number. Sizes that gradients need should be fixed (`prepare` with the shapes of the data).

    Args:
        model: a prepared model, which is not changed.
        wanted: names of tensors of the main graph.
        loss: a name of `losses.LOSSES`, or `losses.GIVEN`.
        output: name of the output; the first with floating-point numbers that is made of `wanted` where None.

    Where an operator on the way has no rule, or a size on the way is not known, no gradient is given of anything that
    the operator reads, even if a part of it comes by another way: `stopped` names the operator.

    Raises:
        ModelError: for this reason, or another, there is no gradient at any of them.
        UsageError: no such loss or output.
    """
    graph = model.clone()
    main = graph.graph
    if main.opset_imports.get("", 1) < OLDEST:
        raise ModelError(
            f"the model is of opset {main.opset_imports.get('', 1)}: gradients need {OLDEST} or newer"
        )
    values = {value.name: value for value in top_level(main) if value.name}
    missing = next((name for name in wanted if name not in values), None)
    if missing is not None:
        raise ModelError(f"tensor '{printable(missing)}' is not in the graph")
    nodes = query.in_order(main)
    constants = Constants(main, nodes)
    shapes = Shapes(constants, main.inputs)
    for node in nodes:
        shapes.visit(node)
    needed = _needed(nodes, constants, [values[name] for name in wanted])
    tape = Tape(main, constants, shapes, needed)
    begin = losses.start(tape, losses.output_named(main, output, needed), loss)
    tape.add(begin.value, begin.gradient)
    stopped: dict[ir.Value, ModelError] = {}
    for node in reversed(nodes):
        _pass(tape, node, stopped)
    found = {
        name: query.name(tape.gradients[values[name]])
        for name in wanted
        if values[name] in tape.gradients and values[name] not in stopped
    }
    if stopped and not found:
        raise next(iter(stopped.values()))
    return Backward(
        model=graph,
        gradients=found,
        output=query.name(begin.value),
        output_gradient=query.name(tape.gradients[begin.value]),
        output_sizes=shapes.dims(begin.value) or (),
        fed=begin.fed,
        stopped={name: f"{stopped[values[name]]}." for name in wanted if values[name] in stopped},
    )


def _needed(
    nodes: Sequence[ir.Node], constants: Constants, wanted: Sequence[ir.Value]
) -> frozenset[ir.Value]:
    """What is made of the wanted values, and they themselves; sizes and constants are made of none."""
    needed = set(wanted)
    for node in nodes:
        if query.kind(node) not in _OF_SIZES and not needed.isdisjoint(query.captured(node)):
            needed.update(value for value in node.outputs if value.name and value not in constants)
    return frozenset(needed)


def _pass(tape: Tape, node: ir.Node, stopped: dict[ir.Value, ModelError]) -> None:
    """Take the gradient at what a node makes to what it reads, where that is asked for; or note why it stops there."""
    arrived = [value for value in node.outputs if value in tape.gradients]
    reads = [value for value in query.captured(node) if tape.needs(value) and _floating(value)]
    why = next((stopped[value] for value in node.outputs if value in stopped), None)
    if not reads or (why is None and not arrived):
        return
    try:
        if why is not None:
            raise why
        gradients = _gradients(tape, node, arrived)
    except ModelError as error:
        stopped.update((value, error) for value in reads if value not in stopped)
        return
    for value, gradient in zip(node.inputs, gradients, strict=False):
        if value in reads and value is not None and gradient is not None:
            tape.add(value, gradient)


def _gradients(tape: Tape, node: ir.Node, arrived: Sequence[ir.Value]) -> Gradients:
    kind = query.kind(node)
    if kind == "Split":
        return joining.split(tape, node)
    if kind not in RULES:
        raise ModelError(
            f"no gradient is known of the operator {printable(kind)} ('{printable(query.node_name(node))}'), which "
            "lies between the layers that are asked about and the output"
        )
    if list(arrived) != [node.outputs[0]]:
        raise refusal(node, "more than its first output is used")
    return RULES[kind](tape, node, tape.gradients[node.outputs[0]])


def _floating(value: ir.Value) -> bool:
    return value.dtype in FLOATS or value.dtype is None
