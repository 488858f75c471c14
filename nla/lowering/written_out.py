"""LayerNorm and RMSNorm as exporters write them out: x / sqrt(mean(x²) + ε), and x = y - mean(y); x / ‖x‖."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.graph import query
from nla.graph.constants import Constants


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


def written_out(
    nodes: Sequence[ir.Node], constants: Constants, ranks: dict[str, int]
) -> dict[str, WrittenOut]:
    """The normalisations of a graph by the name of their output."""
    found = {}
    for node in nodes:
        for recognise in (_divided, _subtracted, _by_length):
            made = recognise(node, constants, ranks)
            if made is not None:
                found[query.name(made.output)] = made
                break
    return found


def _divided(node: ir.Node, constants: Constants, ranks: dict[str, int]) -> WrittenOut | None:
    """x / sqrt(mean(x²) + ε), with a constant factor in the numerator or the denominator or none."""
    read = _quotient(node, constants)
    if read is None:
        return None
    x, root, scale = read
    mean = _under_root(root, constants)
    axes = None if mean is None else _mean_square(mean, x, constants, ranks)
    if axes is None:
        return None
    return WrittenOut(node.outputs[0], axes, _centred(x, axes, constants, ranks), scale)


def _subtracted(node: ir.Node, constants: Constants, ranks: dict[str, int]) -> WrittenOut | None:
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
                axes = _mean_axes(mean, x, constants, ranks) if again is k else None
                factor = None if axes is None else _inverse(k, constants)
                square = None if factor is None else _under_root(factor[0], constants)
                reduce = None if square is None else square.producer()
                if square is None or factor is None or reduce is None or query.kind(reduce) != "ReduceMean":
                    continue
                difference = _squared(query.operand(reduce, 0), constants)
                parts = None if difference is None else _operands(difference, "Sub")
                if parts == (x, mean) and _axes(reduce, constants, ranks.get(query.name(x))) == axes:
                    return WrittenOut(node.outputs[0], axes or (), True, factor[1], shift)
    return None


def _by_length(node: ir.Node, constants: Constants, ranks: dict[str, int]) -> WrittenOut | None:
    """x / max(‖x‖, ε) along the last axes."""
    if query.kind(node) != "Div" or len(query.operands(node)) != 2:
        return None
    x, length = query.operands(node)
    for _ in range(3):
        maker = length.producer()
        if maker is None or query.kind(maker) not in ("Clip", "Max", "Expand", "Add"):
            break
        if query.kind(maker) == "Clip" and query.operand(maker, 2) is not None:
            return None  # a length that is cut short makes a longer quotient
        if query.kind(maker) == "Add" and not (constants.scalar(query.operand(maker, 1)) or -1) > 0:
            return None
        length = query.operands(maker)[0]
    reduce = length.producer()
    if reduce is None or query.kind(reduce) != "ReduceL2" or query.operand(reduce, 0) is not x:
        return None
    axes = _axes(reduce, constants, ranks.get(query.name(x)))
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
    """m where root = sqrt(m + ε), ε ≥ 0: also by Pow(m + ε, 0.5)."""
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
            held = constants.scalar(epsilon)
            if held is not None and held >= 0:
                return mean
        return None
    return inside


def _mean_square(
    mean: ir.Value, x: ir.Value, constants: Constants, ranks: dict[str, int]
) -> tuple[int, ...] | None:
    """The axes where mean = ReduceMean(x², axes, kept)."""
    reduce = mean.producer()
    if reduce is None or query.kind(reduce) != "ReduceMean":
        return None
    squared = _squared(query.operand(reduce, 0), constants)
    if squared is None or not (squared is x or _same_difference(squared, x)):
        return None
    return _axes(reduce, constants, ranks.get(query.name(x)))


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


def _centred(x: ir.Value, axes: tuple[int, ...], constants: Constants, ranks: dict[str, int]) -> bool:
    """Whether x = y - ReduceMean(y) along the same axes."""
    maker = x.producer()
    if maker is None or query.kind(maker) != "Sub" or len(query.operands(maker)) != 2:
        return False
    y, mean = query.operands(maker)
    return _mean_axes(mean, y, constants, ranks) == axes


def _mean_axes(
    mean: ir.Value, y: ir.Value, constants: Constants, ranks: dict[str, int]
) -> tuple[int, ...] | None:
    """The axes where mean = ReduceMean(y, axes, kept)."""
    reduce = mean.producer()
    if reduce is None or query.kind(reduce) != "ReduceMean" or query.operand(reduce, 0) is not y:
        return None
    return _axes(reduce, constants, ranks.get(query.name(y)))


def _axes(node: ir.Node, constants: Constants, rank: int | None) -> tuple[int, ...] | None:
    """The axes that the node reduces, from the last (-1), where it keeps them as axes of one; else None."""
    axes = constants.integers(query.operand(node, 1)) or query.integers(node, "axes")
    if not axes or not query.integer(node, "keepdims", 1):
        return None
    if any(axis >= 0 for axis in axes):
        if rank is None:
            return None
        axes = tuple(axis if axis < 0 else axis - rank for axis in axes)
    return tuple(sorted(axes)) if max(axes) < 0 and len(set(axes)) == len(axes) else None
