"""LayerNorm and RMSNorm as exporters write them out: x / sqrt(mean(x²) + ε), and x = y - mean(y); x / ‖x‖.

Also with the variance as mean(y²) - mean(y)², as Flax has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.constants import Constants
from nla.lowering.rules.base import LEAST, LEAST_HALF


@dataclass(frozen=True)
class WrittenOut:
    """g·x / rms(x) + β along some axes; g and β where the form itself applies them, else later operators do."""

    output: ir.Value
    axes: tuple[int, ...]
    """Counted from the last, -1."""
    centred: bool
    scale: ir.Value | None = None
    """g, a constant."""
    shift: ir.Value | None = None
    """β, a constant."""
    whole: bool = True
    """False for x / ‖x‖, which lacks the factor √n."""
    moments: bool = False
    """Whether the variance is the difference mean(x²) - mean(x)²."""


Shapes = Mapping[str, tuple[int, ...]]


def written_out(nodes: Sequence[ir.Node], constants: Constants, shapes: Shapes) -> dict[str, WrittenOut]:
    """The normalisations of a graph by the name of their output.

    Args:
        nodes: in the order of the graph.
        constants: of the graph.
        shapes: full sizes of the tensors whose sizes are known, by name.
    """
    found = {}
    for node in nodes:
        for recognise in (_divided, _subtracted, _by_length):
            made = recognise(node, constants, shapes)
            if made is not None:
                found[query.name(made.output)] = made
                break
    return found


def _divided(node: ir.Node, constants: Constants, shapes: Shapes) -> WrittenOut | None:
    """x / sqrt(mean(x²) + ε), with a constant factor in the numerator or the denominator or none."""
    read = _quotient(node, constants)
    if read is None:
        return None
    x, root, scale = read
    mean = _under_root(root, constants)
    if mean is None:
        return None
    axes = _mean_square(mean, x, constants, shapes)
    if axes is not None:
        return WrittenOut(node.outputs[0], axes, _centred(x, axes, constants, shapes), scale)
    axes = _by_moments(mean, x, constants, shapes)
    return None if axes is None else WrittenOut(node.outputs[0], axes, True, scale, moments=True)


def _subtracted(node: ir.Node, constants: Constants, shapes: Shapes) -> WrittenOut | None:
    """x·k + (β - mean(x)·k) with k = g / sqrt(var + ε): LayerNorm as TensorFlow writes it."""
    if query.kind(node) != "Add" or len(query.operands(node)) != 2:
        return None
    for product, offset in (query.operands(node), query.operands(node)[::-1]):
        made = _operands(product, "Mul"), _operands(offset, "Sub")
        if made[0] is None or made[1] is None:
            continue
        shift, taken = made[1]
        below = _operands(taken, "Mul")
        if below is None or shift not in constants:
            continue
        for x, k in (made[0], made[0][::-1]):
            for mean, again in (below, below[::-1]):
                axes = _mean_axes(mean, x, constants, shapes) if again is k else None
                factor = None if axes is None else _inverse(k, constants)
                square = None if factor is None else _under_root(factor[0], constants)
                reduce = None if square is None else square.producer()
                if square is None or factor is None or reduce is None or query.kind(reduce) != "ReduceMean":
                    continue
                difference = _squared(query.operand(reduce, 0), constants)
                parts = None if difference is None else _operands(difference, "Sub")
                if parts == (x, mean) and _axes(reduce, constants, _rank(x, shapes)) == axes:
                    return WrittenOut(node.outputs[0], axes or (), True, factor[1], shift)
    return None


def _by_length(node: ir.Node, constants: Constants, shapes: Shapes) -> WrittenOut | None:
    """x / max(‖x‖, ε) along the last axes."""
    if query.kind(node) != "Div" or len(query.operands(node)) != 2:
        return None
    x, length = query.operands(node)
    floor = False
    for _ in range(3):
        maker = length.producer()
        if maker is None or query.kind(maker) not in ("Clip", "Max", "Expand", "Add"):
            break
        if query.kind(maker) == "Clip" and (query.operand(maker, 2) or "max" in maker.attributes):
            return None  # a length that is cut short makes a longer quotient
        enough = _outweighs(query.operand(maker, 1), constants, power=2)
        if query.kind(maker) == "Add" and not enough:
            return None
        floor |= enough and query.kind(maker) != "Expand"
        length = query.operands(maker)[0]
    reduce = length.producer()
    if not floor:
        return None
    if reduce is None or query.kind(reduce) != "ReduceL2" or query.operand(reduce, 0) is not x:
        return None
    axes = _axes(reduce, constants, _rank(x, shapes))
    return None if axes is None else WrittenOut(node.outputs[0], axes, False, whole=False)


def _operands(value: ir.Value | None, kind: str) -> tuple[ir.Value, ir.Value] | None:
    """The two operands of the operator of this kind that makes the value."""
    node = None if value is None else value.producer()
    if node is None or query.kind(node) != kind or len(query.operands(node)) != 2:
        return None
    return query.operands(node)[0], query.operands(node)[1]


def _scaled(value: ir.Value, constants: Constants) -> list[tuple[ir.Value, ir.Value | None]]:
    """(v, None), and (x, c) where the value is x·c with a constant c."""
    parts = _operands(value, "Mul")
    found: list[tuple[ir.Value, ir.Value | None]] = [(value, None)]
    for x, factor in (parts, parts[::-1]) if parts is not None else ():
        if factor in constants and x not in constants:
            found.append((x, factor))
    return found


def _inverse(value: ir.Value, constants: Constants) -> tuple[ir.Value, ir.Value | None] | None:
    """(s, c) where the value is c / s, by Reciprocal, by 1 / s, by a power of -1/2 (then s is that power's node)."""
    for plain, factor in _scaled(value, constants):
        maker = plain.producer()
        if maker is None or not query.operands(maker):
            continue
        if _is_power(plain, -0.5, constants):
            return plain, factor
        parts = _operands(plain, "Div")
        below = query.operands(maker)[0] if query.kind(maker) == "Reciprocal" else None
        below = parts[1] if parts is not None and constants.scalar(parts[0]) == 1 else below
        if below is not None and not _is_power(below, -0.5, constants):
            return below, factor
    return None


def _is_power(value: ir.Value, power: float, constants: Constants) -> bool:
    maker = value.producer()
    return (
        maker is not None
        and query.kind(maker) == "Pow"
        and constants.scalar(query.operand(maker, 1)) == power
    )


def _quotient(node: ir.Node, constants: Constants) -> tuple[ir.Value, ir.Value, ir.Value | None] | None:
    """(x, s, c) where the node gives c·x / s."""
    operands = query.operands(node)
    if query.kind(node) == "Div" and len(operands) == 2:
        x, factor = _scaled(operands[0], constants)[-1]
        return None if _is_power(operands[1], -0.5, constants) else (x, operands[1], factor)
    if query.kind(node) != "Mul" or len(operands) != 2:
        return None
    for x, value in (operands, operands[::-1]):
        found = _inverse(value, constants)
        if found is not None:
            return x, *found
    return None


def _under_root(root: ir.Value, constants: Constants) -> ir.Value | None:
    """m where root = sqrt(m + ε), ε large enough: also by Pow(m + ε, 0.5)."""
    maker = root.producer()
    if maker is None:
        return None
    if query.kind(maker) == "Pow":
        if not (
            _is_power(root, 0.5, constants) or _is_power(root, -0.5, constants)
        ):  # the latter by `_inverse` only
            return None
    elif query.kind(maker) != "Sqrt":
        return None
    inside = query.operand(maker, 0)
    adder = None if inside is None else inside.producer()
    if adder is not None and query.kind(adder) == "Add" and len(query.operands(adder)) == 2:
        left, right = query.operands(adder)
        for mean, epsilon in ((left, right), (right, left)):
            if _outweighs(epsilon, constants):
                return mean
    return None


def _outweighs(epsilon: ir.Value | None, constants: Constants, power: int = 1) -> bool:
    """Whether ε, or its square, is a constant that outweighs what squares lose by underflow."""
    held = constants.array(epsilon) if epsilon is not None else None
    if held is None or held.size != 1 or held.dtype.kind not in "fiu":
        return False
    least = LEAST_HALF if held.dtype == np.float16 else LEAST
    value = float(held.reshape(-1)[0])
    return value > 0 and value**power >= least


def _mean_square(mean: ir.Value, x: ir.Value, constants: Constants, shapes: Shapes) -> tuple[int, ...] | None:
    """The axes where mean = ReduceMean(x², axes, kept)."""
    reduce = mean.producer()
    if reduce is None or query.kind(reduce) != "ReduceMean":
        return None
    squared = _squared(query.operand(reduce, 0), constants)
    if squared is None or not (squared is x or _same_difference(squared, x)):
        return None
    return _axes(reduce, constants, _rank(x, shapes))


def _by_moments(
    variance: ir.Value, difference: ir.Value, constants: Constants, shapes: Shapes
) -> tuple[int, ...] | None:
    """The axes where variance = mean(x²) - mean(x)², or zero where that is negative, and difference = x - mean(x)."""
    parts, inner = _operands(difference, "Sub"), _reshaped(variance, shapes)
    clamped = _operands(inner, "Max")
    for value, floor in (clamped, clamped[::-1]) if clamped is not None else ():
        if constants.scalar(floor) == 0:
            inner = value
    moments = _operands(_reshaped(inner, shapes), "Sub")
    if parts is None or moments is None:
        return None
    x, mean = parts
    second, first = _mean(moments[0], constants, shapes), _squared(moments[1], constants)
    squared, again = (_mean(value, constants, shapes) for value in (first, mean))
    if second is None or squared is None or _squared(second[0], constants) is not x:
        return None
    shape, axes = shapes.get(query.name(x), ()), second[1]
    kept = tuple(1 if k - len(shape) in axes else size for k, size in enumerate(shape))
    laid = all(shapes.get(query.name(value)) == kept for value in (mean, variance))
    return axes if squared == again == (x, axes) and laid else None


def _mean(
    value: ir.Value | None, constants: Constants, shapes: Shapes
) -> tuple[ir.Value, tuple[int, ...]] | None:
    """(x, axes) where the value holds the means of x, in their order: by ReduceMean, or by ReduceSum and a division."""
    value = None if value is None else _reshaped(value, shapes)
    factor = 1.0
    for kind in ("Mul", "Div"):
        parts = _operands(value, kind)
        orders = () if parts is None else (parts, parts[::-1])[: 2 if kind == "Mul" else 1]
        for inner, constant in orders:
            held = constants.scalar(constant)
            if held:
                value = _reshaped(inner, shapes)
                factor *= held if kind == "Mul" else 1 / held
    reduce = None if value is None else value.producer()
    x = None if reduce is None else query.operand(reduce, 0)
    shape = () if x is None else shapes.get(query.name(x), ())
    if reduce is None or x is None or query.kind(reduce) not in ("ReduceMean", "ReduceSum") or not shape:
        return None
    axes = _reduced(reduce, constants, len(shape))
    count = int(np.prod([shape[axis] for axis in axes or ()]))
    wanted = 1.0 if query.kind(reduce) == "ReduceMean" else 1 / count
    return None if axes is None or abs(factor - wanted) > wanted * 2.0**-23 else (x, axes)


def _reshaped(value: ir.Value, shapes: Shapes) -> ir.Value:
    """What the value holds, element by element in the same order, before axes of one came and went."""
    while (node := value.producer()) is not None and query.kind(node) in _LAYING:
        before = query.operands(node)[0]
        sizes = [shapes.get(query.name(each)) for each in (before, value)]
        if None in sizes or np.prod(sizes[0] or ()) != np.prod(sizes[1] or ()):
            break
        value = before
    return value


_LAYING = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Expand", "Identity"))


def _squared(value: ir.Value | None, constants: Constants) -> ir.Value | None:
    """x where the value is x²."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if query.kind(node) == "Pow":
        return query.operand(node, 0) if constants.scalar(query.operand(node, 1)) == 2 else None
    parts = query.operands(node)
    return parts[0] if query.kind(node) == "Mul" and parts == (parts[0],) * 2 else None


def _same_difference(one: ir.Value, other: ir.Value) -> bool:
    """Whether both are the same difference, computed twice."""
    parts = _operands(one, "Sub")
    return parts is not None and parts == _operands(other, "Sub")


def _centred(x: ir.Value, axes: tuple[int, ...], constants: Constants, shapes: Shapes) -> bool:
    """Whether x = y - ReduceMean(y) along the same axes."""
    maker = x.producer()
    if maker is None or query.kind(maker) != "Sub" or len(query.operands(maker)) != 2:
        return False
    y, mean = query.operands(maker)
    return _mean_axes(mean, y, constants, shapes) == axes


def _mean_axes(mean: ir.Value, y: ir.Value, constants: Constants, shapes: Shapes) -> tuple[int, ...] | None:
    """The axes where mean = ReduceMean(y, axes, kept)."""
    reduce = mean.producer()
    if reduce is None or query.kind(reduce) != "ReduceMean" or query.operand(reduce, 0) is not y:
        return None
    return _axes(reduce, constants, _rank(y, shapes))


def _rank(value: ir.Value, shapes: Shapes) -> int | None:
    found = shapes.get(query.name(value))
    return None if found is None else len(found)


def _axes(node: ir.Node, constants: Constants, rank: int | None) -> tuple[int, ...] | None:
    """The axes that the node reduces, from the last (-1), where it keeps them as axes of one; else None."""
    return _reduced(node, constants, rank) if query.integer(node, "keepdims", 1) else None


def _reduced(node: ir.Node, constants: Constants, rank: int | None) -> tuple[int, ...] | None:
    """The axes that the node reduces, from the last (-1)."""
    axes = constants.integers(query.operand(node, 1)) or query.integers(node, "axes")
    if not axes:
        return None
    if any(axis >= 0 for axis in axes):
        if rank is None:
            return None
        axes = tuple(axis if axis < 0 else axis - rank for axis in axes)
    return tuple(sorted(axes)) if max(axes) < 0 and len(set(axes)) == len(axes) else None
