"""What a rule is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.base import Op
from nla.certificates.ops.joining import Concat
from nla.certificates.ops.linear import Dense, Gathering
from nla.certificates.rounding import SINGLE, Floats
from nla.certificates.sets import Domain, Normalised
from nla.graph import query
from nla.lowering.folded import Folded

Shape = tuple[int, ...]


class Unsound(Exception):  # noqa: N818 - no fault of anyone's: the operator is left out of what is proved
    """Why an operator has no sound rule here: a noun phrase that goes on from its name."""


def sample(shape: Shape) -> Shape:
    """The shape of one sample: without a leading axis of one, for graphs are lowered with a batch of one.

    >>> sample((1, 3, 8, 8)), sample((3, 8)), sample((1,))
    ((3, 8, 8), (3, 8), (1,))
    """
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


LEAST = 2.0**-100
"""An ε below this does not outweigh squares that underflow in float32: what is divided by √(mean(x²) + ε) may then be
longer than √n, and infinite without ε."""
LEAST_HALF = 2.0**-21
"""Likewise in float16, where a form is written out in it."""


@dataclass
class Lowered:
    """What has been lowered so far."""

    constants: Folded
    full: dict[str, Shape] = field(default_factory=dict)
    """Shape of every tensor with a batch of one."""
    ops: list[Op] = field(default_factory=list)
    given: dict[str, Domain] = field(default_factory=dict)
    anew: set[str] = field(default_factory=set)
    """Outputs whose range does not depend on what their operator reads."""
    opset: int = 1
    alone: bool = False
    """Whether the model takes one sample a run, so that an operator along the axis of samples mixes nothing."""
    unit: float = SINGLE
    """Unit roundoff of the model's arithmetic."""

    def constant(self, value: ir.Value | None) -> Floats | None:
        """A constant as float64; None where it is none, or holds no numbers."""
        found = None if value is None else self.constants.weight(value)
        return None if found is None or found.dtype.kind not in "fiub" else np.asarray(found, np.float64)

    def known(self, value: ir.Value | None) -> str:
        """The name of a tensor that was lowered, or of a constant made one. Raises Unsound."""
        name = "" if value is None else query.name(value)
        if name not in self.full and self.full and self.constant(value) is not None:
            self.tensor(value, name, next(iter(self.full)))
        if name not in self.full:
            raise Unsound(f"which reads '{name}', whose size is not known")
        return name

    def shape(self, value: ir.Value | None) -> Shape:
        """The tensor's shape of one sample. Raises Unsound."""
        return sample(self.full[self.known(value)])

    def axis(self, value: ir.Value | None, axis: int) -> int:
        """An axis of the full tensor as an axis of the sample. Raises Unsound for the batch axis."""
        full = self.full[self.known(value)]
        axis = axis + len(full) if axis < 0 else axis
        dropped = len(full) - len(sample(full))
        if not dropped <= axis < len(full):
            raise Unsound("along the axis of the samples")
        return axis - dropped

    def along(self, constant: Floats, value: ir.Value | None) -> Floats:
        """A constant that broadcasts with the full tensor, so that it broadcasts with the sample. Raises Unsound."""
        full = self.full[self.known(value)]
        dropped = len(full) - len(sample(full))
        if constant.ndim > len(full) or (dropped and constant.ndim == len(full) and constant.shape[0] != 1):
            raise Unsound("with a constant that makes several samples of one")
        return constant.reshape(constant.shape[1:]) if dropped and constant.ndim == len(full) else constant

    def ball(
        self, shape: Shape, axes: int, scale: Floats, shift: Floats, centred: bool, late: bool = False
    ) -> Normalised:
        """What a normalisation gives, with room for the rounding of the model's arithmetic; sixteen times as much
        where the mean is subtracted `late`, after x was scaled (measured: six times)."""
        held = Normalised(shape, axes, scale, shift, centred)
        room = held.overshoot * max(1.0, self.unit / SINGLE) * (16.0 if late else 1.0)
        return replace(held, overshoot=room)

    def gather(self, source: str, output: str, index: np.ndarray, fill: float | Floats = 0.0) -> str:
        """Enter a tensor made of elements of another; `index` [*full shape] of flat places, -1 for `fill`, a number or
        one for each element of a sample."""
        places = np.asarray(index, np.int64)
        self.add(Gathering((source,), output, places.reshape(sample(places.shape)), fill), places.shape)
        return output

    def places(self, name: str) -> np.ndarray:
        """int64 [*full shape] the flat place of every element: to be moved about, and given to `gather`."""
        full = self.full[name]
        return np.arange(int(np.prod(full, dtype=np.int64))).reshape(full)

    def weigh(self, source: str, output: str, matrix: Floats, bias: Floats | None, axis: int) -> str:
        """Enter `matrix` [outputs, inputs] applied along an axis of the full tensor, `bias` added along it."""
        full = self.full[source]
        axis = axis % len(full)
        if axis == len(full) - 1:
            self.add(Dense((source,), output, matrix, bias), (*full[:-1], len(matrix)))
            return output
        moved = self.gather(source, f"{output}\0turned", np.moveaxis(self.places(source), axis, -1))
        made = f"{output}\0made"
        self.add(Dense((moved,), made, matrix, bias), (*self.full[moved][:-1], len(matrix)))
        return self.gather(made, output, np.moveaxis(self.places(made), -1, axis))

    def tensor(self, value: ir.Value | None, output: str, like: str) -> str:
        """The name of a tensor; a constant becomes one, made of nothing of the tensor `like`. Raises Unsound."""
        array = self.constant(value)
        if array is None:
            return self.known(value)
        return self.gather(like, output, np.full(array.shape, -1), array.reshape(sample(array.shape)))

    def join(self, parts: tuple[str, ...], output: str, axis: int, full: Shape) -> None:
        """Enter tensors one after the other along an axis of the full tensor, whose batch axis has size one."""
        dropped = len(full) - len(sample(full))
        self.add(Concat(parts, output, axis - dropped), full)

    def add(self, op: Op, full: Shape) -> None:
        """Enter an operator whose output has this full shape. Raises Unsound where the operator makes another."""
        shapes = [sample(self.full[name]) for name in op.inputs]
        if op.shape(*shapes) != sample(full):
            raise Unsound(
                f"whose output was expected to be {sample(full)} and came out as {op.shape(*shapes)}"
            )
        self.ops.append(op)
        self.full[op.output] = full


Rule = Callable[[ir.Node, Lowered, Shape], None]
"""(node, what is lowered, full shape of its first output): enters operators. Raises Unsound."""
