"""Sums, means, largest and smallest values along axes of a sample."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.linear import Scale
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.windows import Window
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample


def _gathered(node: ir.Node, lowered: Lowered) -> tuple[str, Shape, int]:
    """(a tensor with the reduced axes as its last one, the shape of the others, how many elements are reduced)."""
    data, axes = query.operand(node, 0), query.integers(node, "axes")
    given = query.operand(node, 1)
    source = lowered.known(data)
    full = lowered.full[source]
    if given is not None:
        found = lowered.constants.array(given)
        if found is None:
            raise Unsound("along axes that vary")
        axes = tuple(int(axis) for axis in found.ravel()) or None
    if axes is None and query.integer(node, "noop_with_empty_axes"):
        raise Unsound("without axes")
    chosen = sorted({axis % len(full) for axis in (range(len(full)) if axes is None else axes)})
    if 0 in chosen and sample(full) != full and not lowered.alone:
        raise Unsound("along the axis of the samples")
    kept = [axis for axis in range(len(full)) if axis not in chosen]
    count = int(np.prod([full[axis] for axis in chosen], dtype=np.int64))
    left = tuple(full[axis] for axis in kept)
    places = lowered.places(source).transpose(*kept, *chosen).reshape(1, *left, count)
    return lowered.gather(source, f"{query.name(node.outputs[0])}\0gathered", places), left, count


def _summed(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    output = query.name(node.outputs[0])
    source, _, count = _gathered(node, lowered)
    each = 1.0 / count if node.op_type == "ReduceMean" else 1.0
    made = lowered.weigh(source, f"{output}\0reduced", np.full((1, count), each), None, -1)
    lowered.gather(made, output, lowered.places(made).reshape(full))


def _largest(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    output = query.name(node.outputs[0])
    source, left, count = _gathered(node, lowered)
    smallest = node.op_type == "ReduceMin"
    if smallest:
        source = _negated(lowered, source, f"{output}\0less")
    groups = int(np.prod(left, dtype=np.int64))
    made = largest_of(lowered, source, f"{output}\0reduced", groups, count)
    if smallest:
        made = _negated(lowered, made, f"{output}\0least")
    lowered.gather(made, output, lowered.places(made).reshape(full))


def largest_of(lowered: Lowered, source: str, output: str, groups: int, count: int) -> str:
    """Enter the largest of each group of `count` elements that follow each other, as [1, groups, 1, 1]."""
    rows = lowered.gather(source, f"{output}\0rows", lowered.places(source).reshape(1, groups, 1, count))
    lowered.add(MaxPool((rows,), output, Window((1, count))), (1, groups, 1, 1))
    return output


def _negated(lowered: Lowered, source: str, output: str) -> str:
    lowered.add(Scale((source,), output, -np.ones(()), np.zeros(())), lowered.full[source])
    return output


def _chosen(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """The largest or the smallest of several tensors, element by element."""
    output, values = query.name(node.outputs[0]), query.operands(node)
    like = next((lowered.known(v) for v in values if lowered.constant(v) is None), "")
    parts = []
    for k, value in enumerate(values):
        name = lowered.tensor(value, f"{output}\0value{k}", like)
        spread = np.broadcast_to(lowered.places(name), full)
        name = lowered.gather(name, f"{output}\0spread{k}", spread)
        parts.append(_negated(lowered, name, f"{output}\0less{k}") if node.op_type == "Min" else name)
    size = int(np.prod(full, dtype=np.int64))
    rows = [
        lowered.gather(name, f"{name}\0row", lowered.places(name).reshape(1, size, 1, 1)) for name in parts
    ]
    joined = f"{output}\0joined"
    lowered.join(tuple(rows), joined, 3, (1, size, 1, len(rows)))
    made = largest_of(lowered, joined, f"{output}\0chosen", size, len(rows))
    made = _negated(lowered, made, f"{output}\0least") if node.op_type == "Min" else made
    lowered.gather(made, output, lowered.places(made).reshape(full))


RULES = {
    "ReduceSum": _summed,
    "ReduceMean": _summed,
    "ReduceMax": _largest,
    "ReduceMin": _largest,
    "Max": _chosen,
    "Min": _chosen,
}
