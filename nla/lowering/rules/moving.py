"""Operators that move elements: what they do to a tensor of positions is what they do to any tensor.

The operator itself, as onnx's reference implementation has it, is run once on the positions 1, 2, 3, …; a zero in its
output is padding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.rounding import Floats
from nla.certificates.sets import Box
from nla.graph import query
from nla.lowering.folded import alone
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample

_LARGEST = 1 << 24


def _moved(node: ir.Node, lowered: Lowered, full: Shape, fill: float = 0.0) -> None:
    data = query.operand(node, 0)
    if lowered.constant(data) is not None and any(
        lowered.constants.array(value) is None for value in query.operands(node)[1:]
    ):
        _looked_up(node, lowered, full)
        return
    shape = lowered.full[lowered.known(data)]
    size = int(np.prod(shape, dtype=np.int64))
    if max(size, int(np.prod(full, dtype=np.int64))) > _LARGEST:
        raise Unsound("of a tensor too large to be followed")
    feeds = {query.name(node.inputs[0]): np.arange(1, size + 1, dtype=np.int64).reshape(shape)}  # type: ignore[arg-type]
    for value in query.operands(node)[1:]:
        array = lowered.constants.array(value)
        if array is None:
            raise Unsound("whose places vary with the data")
        feeds[query.name(value)] = array.astype(np.int64) if node.op_type == "Pad" else array
    found = alone(node, lowered.opset, feeds)
    if found is None:
        raise Unsound("whose effect on positions could not be computed")
    for value, index in zip((value for value in node.outputs if value.name), found, strict=True):
        places = np.asarray(index, np.int64) - 1
        if places.shape != full and value is node.outputs[0]:
            raise Unsound("whose output is of another shape than was inferred")
        lowered.gather(lowered.known(data), query.name(value), places, fill)


def _looked_up(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """Rows of a constant table, whichever they are: an embedding."""
    table = lowered.constant(query.operand(node, 0))
    if node.op_type != "Gather" or table is None or not table.size:
        raise Unsound("of a constant, by places that vary")
    axis = query.integer(node, "axis") % table.ndim
    rank = len(full) - table.ndim + 1
    low, high = (
        np.expand_dims(end(axis=axis), tuple(range(axis, axis + rank))) for end in (table.min, table.max)
    )
    name = query.name(node.outputs[0])
    lowered.given[name] = Box(
        *(np.array(np.broadcast_to(end, full).reshape(sample(full))) for end in (low, high))
    )
    lowered.full[name] = full


def _pad(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    if (query.text(node, "mode") or "constant") != "constant":
        _moved(node, lowered, full)
        return
    value, pads = query.operand(node, 2), query.integers(node, "pads")
    fill = query.real(node, "value", 0.0)
    if value is not None:
        found = lowered.constant(value)
        if found is None or found.size != 1:
            raise Unsound("with a value that varies")
        fill = float(found.ravel()[0])
    source = lowered.known(query.operand(node, 0))
    shape = lowered.full[source]
    given = pads if pads is not None else lowered.constants.array(query.operand(node, 1))
    axes = lowered.constants.array(query.operand(node, 3))
    if given is None or (query.operand(node, 3) is not None and axes is None):
        raise Unsound("by amounts that vary")
    amounts = [int(amount) for amount in np.ravel(given)]
    chosen = [int(axis) % len(shape) for axis in np.ravel(axes)] if axes is not None else range(len(shape))
    places = lowered.places(source)
    for k, axis in enumerate(chosen):
        before, after = amounts[k], amounts[k + len(amounts) // 2]
        places = np.take(places, range(max(0, -before), places.shape[axis] - max(0, -after)), axis)
        width = [(0, 0)] * len(shape)
        width[axis] = (max(0, before), max(0, after))
        places = np.pad(places, width, constant_values=-1)
    if places.shape != full or places.size > _LARGEST:
        raise Unsound("whose output is of another shape than was inferred")
    lowered.gather(source, query.name(node.outputs[0]), places, fill)


def _enlarged(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """Resize and Upsample by repetition: whole factors, the nearest element."""
    source = lowered.known(query.operand(node, 0))
    shape = lowered.full[source]
    if (query.text(node, "mode") or "nearest") != "nearest" or any(
        new % old for new, old in zip(full, shape, strict=True)
    ):
        raise Unsound("that is no repetition of elements")
    how = query.text(node, "coordinate_transformation_mode") or "half_pixel"
    nearest = query.text(node, "nearest_mode") or "round_prefer_floor"
    repeats = node.op_type == "Upsample" or (how, nearest) in _REPEATS
    if not repeats or not _whole(node, lowered, shape, full):
        raise Unsound("that is no repetition of elements")
    places = lowered.places(source)
    for axis, (new, old) in enumerate(zip(full, shape, strict=True)):
        places = np.repeat(places, new // old, axis)
    lowered.gather(source, query.name(node.outputs[0]), places)


def _whole(node: ir.Node, lowered: Lowered, shape: Shape, full: Shape) -> bool:
    """Whether the factors themselves are whole: 2.1 makes six of three elements, and repeats them otherwise."""
    given = factors(node, lowered, len(shape))
    return given is None or np.array_equal(given * np.asarray(shape), full)


def factors(node: ir.Node, lowered: Lowered, rank: int) -> Floats | None:
    """[rank] the factors that a Resize or an Upsample is given; None where it is given sizes. Raises Unsound."""
    value = query.operand(node, 2 if node.op_type == "Resize" and lowered.opset >= WITH_ROI else 1)
    held = np.array(query.reals(node, "scales") or ()) if value is None else lowered.constant(value)
    if held is None:
        raise Unsound("by factors that vary")
    if not held.size:
        return None
    made, axes = np.ones(rank), query.integers(node, "axes")
    made[list(range(rank) if axes is None else axes)] = held.ravel()
    return made


WITH_ROI = 11
"""The opset from which Resize has its factors as the third operand, and says how places are counted."""


_REPEATS = (
    *(("half_pixel", mode) for mode in ("round_prefer_floor", "round_prefer_ceil")),
    *(("pytorch_half_pixel", mode) for mode in ("round_prefer_floor", "round_prefer_ceil")),
    ("asymmetric", "floor"),
)
"""With whole factors these repeat each element."""

_MOVING = (
    *(
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Identity",
        "Slice",
        "Split",
        "Expand",
        "Tile",
    ),
    *("DepthToSpace", "SpaceToDepth", "Gather", "GatherElements", "GatherND"),
)
RULES = {**dict.fromkeys(_MOVING, _moved), "Pad": _pad, "Resize": _enlarged, "Upsample": _enlarged}
