"""What is differentiated: a loss of each sample, and its gradient at the network's output."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.errors import ModelError, UsageError, printable
from nla.graph import query
from nla.graph.backward.tape import FLOATS, Tape
from nla.site import Input

CROSS_ENTROPY, MEAN_SQUARE, SUM, GIVEN = "cross-entropy", "mean-square", "sum", "given"
LOSSES = (CROSS_ENTROPY, MEAN_SQUARE, SUM)
"""Of each sample: cross-entropy of the logits with its label; mean of the output's squares; sum of the output."""
TARGET, SEED = "nla.target", "nla.seed"


@dataclass(frozen=True)
class Seeded:
    """Where a backward pass begins."""

    value: ir.Value
    """The forward value that the loss is a function of."""
    gradient: ir.Value
    fed: Input | None
    """An input that the graph did not have."""


def start(tape: Tape, output: ir.Value, loss: str) -> Seeded:
    """The gradient of the loss of each sample at the output, or at the logits behind a softmax.

    `given` is no loss: the gradient itself is fed, under the name `SEED`, in the shape of the output.
    Raises ModelError, UsageError.
    """
    try:
        make = _MAKERS[loss]
    except KeyError:
        raise UsageError(f"no loss {printable(loss)!r}; there are {', '.join(LOSSES)}") from None
    return make(tape, output)


def output_named(graph: ir.Graph, name: str | None, reached: Container[ir.Value]) -> ir.Value:
    """The output of that name; where none is named, the first of floating-point numbers that is `reached`.

    Raises ModelError, UsageError: there is no such output.
    """
    outputs = [value for value in graph.outputs if value.name]
    listed = ", ".join(printable(value.name) for value in outputs) or "none"
    if name is not None:
        found = next((value for value in outputs if value.name == name), None)
        if found is None:
            raise UsageError(f"the model has no output {printable(name)!r}; its outputs are {listed}")
        return found
    floating = [value for value in outputs if value.dtype in FLOATS or value.dtype is None]
    if not floating:
        raise ModelError(
            f"no output of the model holds floating-point numbers ({listed}): there is no gradient"
        )
    return next((value for value in floating if value in reached), floating[0])


def logits_of(output: ir.Value) -> ir.Value:
    """What a softmax at the end is made of; the output itself where there is none."""
    node = output.producer()
    while node is not None and query.kind(node) in ("Softmax", "LogSoftmax", "Identity") and node.inputs[0]:
        output = node.inputs[0]
        if query.kind(node) != "Identity":
            break
        node = output.producer()
    return output


def classes_of(sizes: Sequence[int | str | None], name: str) -> int:
    """How many classes logits of these sizes tell apart. Raises ModelError."""
    if len(sizes) != 2 or not isinstance(sizes[1], int) or sizes[1] < 2:
        shown = ", ".join("?" if size is None else str(size) for size in sizes)
        raise ModelError(
            f"the output '{printable(name)}' has the shape [{printable(shown)}], and cross-entropy needs "
            f"[samples, classes] with two classes or more: name another output, or --loss {MEAN_SQUARE}"
        )
    return sizes[1]


def _cross_entropy(tape: Tape, output: ir.Value) -> Seeded:
    """softmax - target."""
    logits = logits_of(output)
    classes = classes_of(tape.shapes.dims(logits) or (), query.name(output))
    kind = tape.kind(logits)
    target = _fed(tape, TARGET, kind, (None, classes))
    shares = tape.put("Softmax", logits, axis=1)
    return Seeded(logits, tape.put("Sub", shares, target), Input(TARGET, str(kind.numpy()), (None, classes)))


def _mean_square(tape: Tape, output: ir.Value) -> Seeded:
    """2·y over the number of elements of one sample."""
    kind = int(tape.kind(output))
    elements = tape.put("Cast", tape.put("Size", output), to=kind)
    samples = tape.put("Cast", tape.sliced(tape.shape(output), [0], [0], [1]), to=kind)
    share = tape.put("Div", tape.scaled(samples, 2, output), elements)
    return Seeded(output, tape.times(output, share), None)


def _sum(tape: Tape, output: ir.Value) -> Seeded:
    return Seeded(output, tape.spread_to(tape.number(1, output), output), None)


def _given(tape: Tape, output: ir.Value) -> Seeded:
    sizes = tape.shapes.dims(output)
    kind = tape.kind(output)
    return Seeded(output, _fed(tape, SEED, kind, sizes), Input(SEED, str(kind.numpy()), sizes))


def _fed(tape: Tape, name: str, kind: ir.DataType, sizes: Sequence[int | str | None] | None) -> ir.Value:
    shape = None if sizes is None else ir.Shape(list(sizes))
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(kind))
    tape.graph.inputs.append(value)
    return value


_MAKERS: dict[str, Callable[[Tape, ir.Value], Seeded]] = {
    CROSS_ENTROPY: _cross_entropy,
    MEAN_SQUARE: _mean_square,
    SUM: _sum,
    GIVEN: _given,
}
