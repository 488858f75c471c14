"""Products summed along axes that two tensors share: Einsum, and MatMul where both vary (attention)."""

from __future__ import annotations

from collections.abc import Mapping
from string import digits

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.linear import Gathering
from nla.certificates.ops.products import InnerProducts
from nla.certificates.ops.softmax import Softmax, strays
from nla.certificates.rounding import Floats
from nla.graph import query
from nla.graph.einsum import Terms, terms
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample

_LARGEST = 1 << 28
"""Products in one operator, at most."""
_MATRIX = 2
_APART = "of two tensors that both vary, without an axis of samples that both keep"


def contract(lowered: Lowered, names: tuple[str, str], form: Terms, output: str, full: Shape) -> None:
    """Enter the products of two tensors, summed; axes of size one are stretched as broadcasting does.

    Raises:
        Unsound: a form that is not covered, too many products.
    """
    rows, columns = _alone(form.left, form.right, form.out), _alone(form.right, form.left, form.out)
    kept = "".join(axis for axis in form.left if axis in form.right and axis in form.out)
    summed = "".join(axis for axis in form.left if axis in form.right and axis not in form.out)
    sizes: dict[str, int] = {}
    for name, axes in zip(names, (form.left, form.right), strict=True):
        for axis, length in zip(axes, lowered.full[name], strict=True):
            sizes[axis] = max(length, sizes.get(axis, 1))
    if _count(kept + rows + summed + columns, sizes) > _LARGEST:
        raise Unsound("of more products than are followed")
    left, right, made = (f"{output}\0{part}" for part in ("left", "right", "products"))
    _laid(lowered, names[0], left, form.left, (kept, rows, summed), sizes)
    _laid(lowered, names[1], right, form.right, (kept, summed, columns), sizes)
    mixing = strays(_count(summed, sizes), lowered.unit) if _mixes(lowered, left) else None
    shape = (1, *(_count(group, sizes) for group in (kept, rows, columns)))
    lowered.add(InnerProducts((left, right), made, mixing), shape)
    _taken_apart(lowered, made, output, kept + rows + columns, form.out, sizes, full)


def _alone(one: str, other: str, out: str) -> str:
    """The axes of one operand and the output. Raises Unsound: a sum over one operand alone."""
    if any(axis not in other and axis not in out for axis in one):
        raise Unsound("that sums over one operand alone")
    return "".join(axis for axis in one if axis not in other)


def _count(axes: str, sizes: Mapping[str, int]) -> int:
    return int(np.prod([sizes[axis] for axis in axes], dtype=np.int64))


def _laid(
    lowered: Lowered, name: str, output: str, axes: str, groups: tuple[str, ...], sizes: Mapping[str, int]
) -> None:
    """Enter a tensor as one axis for each group of its axes, and one of size one before them."""
    order = "".join(groups)
    places = lowered.places(name).transpose([axes.index(axis) for axis in order])
    places = np.broadcast_to(places, [sizes[axis] for axis in order])
    lowered.gather(name, output, places.reshape(1, *(_count(group, sizes) for group in groups)))


def _taken_apart(
    lowered: Lowered, name: str, output: str, order: str, out: str, sizes: Mapping[str, int], full: Shape
) -> None:
    """Enter a tensor, whose axes lie one after the other in this order, as the output."""
    places = lowered.places(name).reshape([sizes[axis] for axis in order])
    places = places.transpose([order.index(axis) for axis in out])
    if places.shape != full:
        raise Unsound("whose output is of another shape than was inferred")
    lowered.gather(name, output, places)


def _mixes(lowered: Lowered, name: str) -> bool:
    """Whether each row of the tensor, along its last axis, is all that one softmax gives: moved, not changed."""
    made = {op.output: op for op in lowered.ops}
    index = lowered.places(name)
    while isinstance(op := made.get(name), Gathering):
        if (op.index < 0).any():
            return False
        index = op.index.ravel()[index]
        name = op.inputs[0]
    if not isinstance(op, Softmax):
        return False
    shape = sample(lowered.full[name])
    axis = op.axis % len(shape)
    groups = np.broadcast_to(
        np.expand_dims(
            np.arange(np.prod(shape) // shape[axis]).reshape(shape[:axis] + shape[axis + 1 :]), axis
        ),
        shape,
    ).ravel()[index]
    rows = np.sort(index.reshape(-1, index.shape[-1]), axis=1)
    whole = index.shape[-1] == shape[axis] and bool((np.diff(rows, axis=1) > 0).all())
    return whole and bool((groups == groups[..., :1]).all())


def matrices(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """MatMul of two tensors that vary."""
    names = lowered.known(query.operand(node, 0)), lowered.known(query.operand(node, 1))
    ranks = [len(lowered.full[name]) for name in names]
    lead = "".join(chr(ord("a") + k) for k in range(max(ranks) - 2))
    left, right = (lead[len(lead) - rank + 2 :] for rank in ranks)
    if min(ranks) < _MATRIX or not (lowered.alone or left[:1] == right[:1] != ""):
        raise Unsound(_APART)
    contract(lowered, names, Terms(f"{left}XK", f"{right}KY", f"{lead}XY"), query.name(node.outputs[0]), full)


def _einsum(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    values, output, found = query.operands(node), query.name(node.outputs[0]), terms(node)
    if found is None:
        raise Unsound("of that form")
    arrays = [lowered.constant(value) for value in values]
    like = next((query.name(value) for value, array in zip(values, arrays, strict=True) if array is None), "")
    names = [lowered.tensor(value, f"{output}\0constant", like) for value in values]
    found = _whole(found, [len(lowered.full[name]) for name in names], len(full))
    if all(array is None for array in arrays):
        if not (lowered.alone or found.left[:1] == found.right[:1] == found.out[:1]):
            raise Unsound(_APART)
        contract(lowered, (names[0], names[1]), found, output, full)
        return
    if arrays[0] is not None:
        found, names, arrays = found.swapped(), names[::-1], arrays[::-1]
    if set(found.left) & set(found.right) & set(found.out):
        contract(lowered, (names[0], names[1]), found, output, full)
    else:
        _weighed(lowered, names[0], np.asarray(arrays[1]), found, output, full)


def _whole(found: Terms, ranks: list[int], out: int) -> Terms:
    """The letters, and digits for the axes that an ellipsis stands for. Raises Unsound: ranks that do not fit."""
    made = []
    for term, rank in zip((found.left, found.right, found.out), (*ranks, out), strict=True):
        more = rank - len(term)
        if not 0 <= more <= len(digits):
            raise Unsound("of that form")
        made.append(digits[len(digits) - more :] + term)
    return Terms(*made)


def _weighed(lowered: Lowered, name: str, weight: Floats, found: Terms, output: str, full: Shape) -> None:
    """A tensor by a constant that shares only axes that are summed."""
    rows, columns = _alone(found.left, found.right, found.out), _alone(found.right, found.left, found.out)
    summed = "".join(axis for axis in found.left if axis in found.right)
    if found.left[:1] in summed and not lowered.alone:
        raise Unsound("along the axis of the samples")
    sizes = {**dict(zip(found.right, weight.shape, strict=True))}
    sizes.update(zip(found.left, lowered.full[name], strict=True))
    if any(
        size != weight.shape[found.right.index(axis)] for axis, size in sizes.items() if axis in found.right
    ):
        raise Unsound("whose sizes do not fit")
    matrix = weight.transpose([found.right.index(axis) for axis in columns + summed])
    laid, made = f"{output}\0rows", f"{output}\0products"
    _laid(lowered, name, laid, found.left, (rows, summed), sizes)
    lowered.weigh(laid, made, matrix.reshape(_count(columns, sizes), -1), None, -1)
    _taken_apart(lowered, made, output, rows + columns, found.out, sizes, full)


RULES = {"Einsum": _einsum}
