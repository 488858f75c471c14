"""What rules write with: nodes that every opset from 7 on understands, and what is known of the forward graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from nla.errors import ModelError, printable
from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.shapes import Dim, Dims, Shapes

Gradients = Sequence[ir.Value | None]
"""The gradient at each input of a node; None where there is none, or nobody asks."""
Rule = Callable[["Tape", ir.Node, ir.Value], Gradients]
"""From the gradient at a node's first output to those at its inputs."""

OLDEST = 7
"""The opset from which on operands are spread as in NumPy."""
_PREFIX = "nla.gradient."
_REDUCED_BY_INPUT = 13
_SLICED_BY_INPUT = 10
_PADDED_BY_INPUT = 11
_CHOOSES = 9
_EXPANDED = 8
_FREE_OF_C = 11
FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class Tape:
    """A graph that backward nodes are appended to. Gradients have the shapes of the forward values."""

    def __init__(
        self, graph: ir.Graph, constants: Constants, shapes: Shapes, needed: frozenset[ir.Value]
    ) -> None:
        self.graph = graph
        self.opset = graph.opset_imports.get("", 1)
        self.constants = constants
        self.shapes = shapes
        self.gradients: dict[ir.Value, ir.Value] = {}
        """At each forward value, complete once all its readers are done."""
        self._needed = needed
        self._taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
        self._taken |= {value.name for value in graph.inputs}
        self._made = 0
        self._numbers: dict[tuple[Any, ...], ir.Value] = {}

    def needs(self, value: ir.Value | None) -> bool:
        """Whether the gradient at the value is asked for, or leads to one that is."""
        return value in self._needed

    def add(self, value: ir.Value, gradient: ir.Value) -> None:
        """One more part of the gradient at a forward value."""
        before = self.gradients.get(value)
        after = gradient if before is None else self.put("Add", before, gradient)
        after.type = after.type or ir.TensorType(self.kind(value))
        self.gradients[value] = after

    # Nodes

    def put(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A node of one output."""
        given = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        made = ir.Node("", kind, list(inputs), given, num_outputs=1, name=self.fresh())
        made.outputs[0].name = made.name
        self.graph.append(made)
        return made.outputs[0]

    def copied(self, node: ir.Node, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A node of the same operator with its attributes, or others in their place, and these inputs."""
        kept = {name: value for name, value in node.attributes.items() if name not in attributes}
        given = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        made = ir.Node(
            node.domain,
            node.op_type,
            list(inputs),
            [*kept.values(), *given],
            num_outputs=1,
            name=self.fresh(),
        )
        made.outputs[0].name = made.name
        self.graph.append(made)
        return made.outputs[0]

    def fresh(self) -> str:
        """A name that nothing bears."""
        while True:
            name = f"{_PREFIX}{self._made}"
            self._made += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

    def array(self, values: Any) -> ir.Value:
        """A constant; equal small ones are one."""
        array = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._numbers:
            name = self.fresh()
            tensor = ir.tensor(array, name=name)
            value = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
            self._numbers[key] = value
        return self._numbers[key]

    def number(self, value: Any, like: ir.Value) -> ir.Value:
        """A constant (a number, or an array) of the element type of a forward value."""
        return self.array(np.asarray(value, self.kind(like).numpy()))

    def integers(self, *values: int) -> ir.Value:
        """A constant int64 tensor of one axis."""
        return self.array(np.array(values, np.int64))

    def kind(self, value: ir.Value) -> ir.DataType:
        """The element type; float32 where nobody says."""
        return value.dtype if value.dtype in FLOATS else ir.DataType.FLOAT

    # Arithmetic

    def times(self, value: ir.Value, *others: ir.Value) -> ir.Value:
        """The product."""
        for other in others:
            value = self.put("Mul", value, other)
        return value

    def scaled(self, value: ir.Value, factor: float, like: ir.Value) -> ir.Value:
        """The value by a number; itself for 1."""
        return value if factor == 1 else self.put("Mul", value, self.number(factor, like))

    def where(self, holds: ir.Value, one: ir.Value, other: ir.Value, like: ir.Value) -> ir.Value:
        """`one` where it holds, else `other`."""
        if self.opset >= _CHOOSES:
            return self.put("Where", holds, one, other)
        chosen = self.flag(holds, like)
        rest = self.put("Sub", self.number(1, like), chosen)
        return self.put("Add", self.times(chosen, one), self.times(rest, other))

    def flag(self, holds: ir.Value, like: ir.Value) -> ir.Value:
        """1 where it holds, else 0."""
        return self.put("Cast", holds, to=int(self.kind(like)))

    def above(self, value: ir.Value, number: float, like: ir.Value) -> ir.Value:
        """Whether value > number."""
        return self.put("Greater", value, self.number(number, like))

    def summed(self, value: ir.Value, axes: Sequence[int], *, keep: bool = True) -> ir.Value:
        """The sum over some axes."""
        if self.opset >= _REDUCED_BY_INPUT:
            return self.put("ReduceSum", value, self.integers(*axes), keepdims=int(keep))
        return self.put("ReduceSum", value, axes=list(axes), keepdims=int(keep))

    def product(self, a: ir.Value, b: ir.Value, like: ir.Value, **attributes: Any) -> ir.Value:
        """A Gemm of two matrices."""
        rest = [] if self.opset >= _FREE_OF_C else [self.number(0, like)]
        return self.put("Gemm", a, b, *rest, **attributes)

    # Shapes

    def shape(self, value: ir.Value) -> ir.Value:
        """The shape, at run time."""
        return self.put("Shape", value)

    def shaped_as(self, gradient: ir.Value, value: ir.Value) -> ir.Value:
        """The gradient in the shape of a forward value of as many elements."""
        return self.put("Reshape", gradient, self.shape(value))

    def spread_to(self, gradient: ir.Value, value: ir.Value) -> ir.Value:
        """The gradient repeated to the shape of a forward value."""
        if self.opset < _EXPANDED:
            return self.put("Add", gradient, self.put("Sub", value, value))
        return self.put("Expand", gradient, self.shape(value))

    def sliced(
        self, value: ir.Value, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]
    ) -> ir.Value:
        """A part of the value."""
        if self.opset >= _SLICED_BY_INPUT:
            return self.put(
                "Slice", value, self.integers(*starts), self.integers(*ends), self.integers(*axes)
            )
        return self.put("Slice", value, axes=list(axes), starts=list(starts), ends=list(ends))

    def padded(self, value: ir.Value, pads: Sequence[int], number: float, like: ir.Value) -> ir.Value:
        """The value with `number` around it: before each axis, then behind each."""
        if not any(pads):
            return value
        if self.opset >= _PADDED_BY_INPUT:
            return self.put("Pad", value, self.integers(*pads), self.number(number, like))
        return self.put("Pad", value, pads=list(pads), value=float(number))

    def dims(self, node: ir.Node, value: ir.Value | None) -> Dims:
        """The sizes of a forward value. Raises ModelError where even the rank is not known."""
        found = self.shapes.dims(value)
        if found is None:
            raise refusal(node, "the shape of what it reads or makes is not known")
        return found

    def whole_numbers(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """What a constant of whole numbers holds, or one that is made of known sizes; None for every other value."""
        found = self.constants.integers(value)
        if found is None:
            known = self.shapes.elements(value) or (None,)
            found = tuple(each for each in known if isinstance(each, int))
            return found if len(found) == len(known) else None
        return found

    def sizes(self, node: ir.Node, value: ir.Value | None, first: int = 0) -> list[int]:
        """The sizes from axis `first` on. Raises ModelError where one is not known."""
        found = self.dims(node, value)[first:]
        if not all(isinstance(size, int) for size in found):
            raise refusal(node, "its sizes are not known before a run, and its gradient needs them")
        return [size for size in found if isinstance(size, int)]

    def folded(self, gradient: ir.Value, node: ir.Node, operand: ir.Value) -> ir.Value:
        """The gradient at an operand that the node spread to the shape of its output: the sum over copies."""
        inner, outer = self.dims(node, operand), self.dims(node, node.outputs[0])
        more = len(outer) - len(inner)
        pairs = list(zip(inner, outer[more:], strict=True))
        axes = [*range(more), *(more + at for at, (d, o) in enumerate(pairs) if d == 1 and o != 1)]
        if axes:
            gradient = self.summed(gradient, axes)
        unsure = any(_may_differ(d, o) for d, o in pairs)
        # Reshape fails, and says so, where a size that is not known here turns out to be spread after all.
        return self.shaped_as(gradient, operand) if more or unsure else gradient


def _may_differ(size: Dim, other: Dim) -> bool:
    return not isinstance(size, int) and (size is None or size != other)


def refusal(node: ir.Node, why: str) -> ModelError:
    """The gradient does not go through a node."""
    return ModelError(
        f"{printable(query.kind(node))} '{printable(query.node_name(node))}' lies on the way of the gradient: {why}"
    )
