"""Gradients of linear maps along axes, by the transposes of their matrices: known ones, or computed in the graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal

_LARGEST = 1 << 24
"""Elements of a matrix that is made."""
_SIZES_TOO, _FREE_OF_ROI = 11, 13
"""Opsets from which on Resize takes sizes, and may do without roi and scales."""


def along(
    tape: Tape,
    node: ir.Node,
    value: ir.Value,
    axis: int,
    matrix: NDArray[np.float64],
    rank: int,
    like: ir.Value,
) -> ir.Value:
    """Σ_j matrix[i, j]·value[…, j, …] in the place of axis j. Raises ModelError: the matrix is too large."""
    if matrix.size > _LARGEST:
        raise refusal(node, "its matrix would be too large")
    return _along(tape, value, axis, tape.number(matrix.T, like), rank)


def _along(tape: Tape, value: ir.Value, axis: int, turned: ir.Value, rank: int) -> ir.Value:
    """The same by the transpose of the matrix."""
    order = [*(at for at in range(rank) if at != axis), axis]
    if axis == rank - 1:
        return tape.put("MatMul", value, turned)
    made = tape.put("MatMul", tape.put("Transpose", value, perm=order), turned)
    return tape.put("Transpose", made, perm=[order.index(at) for at in range(rank)])


def _resized(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Resize and Upsample: along each axis by what the same node makes of the unit vectors."""
    x = node.inputs[0]
    assert x is not None
    dims = tape.dims(node, x)
    if query.text(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        raise refusal(node, "it crops what it resizes")
    if query.text(node, "keep_aspect_ratio_policy", "stretch") != "stretch" or query.integers(node, "axes"):
        raise refusal(node, "its sizes are such as its other axes allow, or of some axes only")
    scales = _scales(tape, node, len(dims))
    for axis, scale in enumerate(scales):
        if scale == 1:
            continue
        if axis == 0 or len(dims) < 2:
            raise refusal(node, "it resizes the axis of the samples")
        size, made = (tape.sizes(node, value, axis)[0] for value in (x, node.outputs[0]))
        if size * made > _LARGEST:
            raise refusal(node, "its matrix would be too large")
        shape = [size if at in (0, axis) else 1 for at in range(len(dims))]
        each = [made if at == axis else n for at, n in enumerate(shape)]
        units = tape.number(np.eye(size).reshape(shape), x)
        factors = [scale if at == axis else 1.0 for at in range(len(dims))]
        matrix = tape.put("Reshape", _again(tape, node, units, factors, each), tape.integers(size, made))
        gradient = _along(tape, gradient, axis, _turned(tape, matrix), len(dims))
    return (gradient,)


def _scales(tape: Tape, node: ir.Node, rank: int) -> list[float]:
    """By axis; such as the sizes say where the node is given sizes."""
    given = query.reals(node, "scales")
    if given is None:
        found = tape.constants.array(query.operand(node, 1 if tape.opset < _SIZES_TOO else 2))
        given = None if found is None else tuple(map(float, found.reshape(-1)))
    if not given and query.operand(node, 3) is not None:
        sizes = zip(*(tape.dims(node, value) for value in (node.inputs[0], node.outputs[0])), strict=False)
        given = tuple(_ratio(node, before, after) for before, after in sizes)
    if not given or len(given) != rank:
        raise refusal(node, "how much it resizes is computed")
    return list(given)


def _ratio(node: ir.Node, before: int | str | None, after: int | str | None) -> float:
    if before is not None and before == after:
        return 1.0
    if isinstance(before, int) and isinstance(after, int) and before > 0:
        return after / before
    raise refusal(node, "how much it resizes is computed")


def _again(tape: Tape, node: ir.Node, units: ir.Value, scales: list[float], sizes: list[int]) -> ir.Value:
    """The node with another input, which it resizes likewise."""
    if query.kind(node) == "Upsample" and "scales" in node.attributes:
        return tape.copied(node, units, scales=scales)
    factors = tape.array(np.array(scales, np.float32))
    if tape.opset < _SIZES_TOO:
        return tape.copied(node, units, factors)
    roi = None if tape.opset >= _FREE_OF_ROI else tape.array(np.zeros(0, np.float32))
    if query.operand(node, 3) is None:
        return tape.copied(node, units, roi, factors)
    unset = None if tape.opset >= _FREE_OF_ROI else tape.array(np.zeros(0, np.float32))
    return tape.copied(node, units, roi, unset, tape.integers(*sizes))


def _turned(tape: Tape, matrix: ir.Value) -> ir.Value:
    return tape.put("Transpose", matrix, perm=[1, 0])


def _repeated(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Tile."""
    x = node.inputs[0]
    assert x is not None
    times, rank = tape.whole_numbers(query.operand(node, 1)), len(tape.dims(node, x))
    if times is None or len(times) != rank:
        raise refusal(node, "how often it repeats is computed")
    for axis, count in enumerate(times):
        if count != 1:
            units = np.eye(tape.sizes(node, x, axis)[0])
            gradient = along(tape, node, gradient, axis, np.tile(units, (1, count)), rank, x)
    return (gradient,)


RULES: dict[str, Rule] = {**dict.fromkeys(("Resize", "Upsample"), _resized), "Tile": _repeated}
