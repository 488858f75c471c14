"""What shape tensors hold: the arithmetic that exporters do on sizes, one operator at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from nla.graph import query

if TYPE_CHECKING:
    from nla.graph.shapes import Dim, Dims, Shapes

LONGEST = 64
"""Elements of a tensor that can still be a shape."""

LARGEST = 1 << 48
"""Sizes beyond are not followed: a few nodes can square a number until it fills the memory."""

_TIMES = "·"
"""Between the factors of a product that is not a number."""


def _of_shape(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims = shapes.dims(query.operand(node, 0))
    if dims is None:
        return None
    return dims[query.integer(node, "start") : query.integer(node, "end", len(dims))]


def _same(shapes: Shapes, node: ir.Node) -> Dims | None:
    return shapes.elements(query.operand(node, 0))


def _of_gather(shapes: Shapes, node: ir.Node) -> Dims | None:
    data = shapes.elements(query.operand(node, 0))
    where = shapes.elements(query.operand(node, 1))
    if data is None or where is None or shapes.rank(query.operand(node, 0)) != 1:
        return None
    return tuple(data[i] if isinstance(i, int) and -len(data) <= i < len(data) else None for i in where)


def _of_slice(shapes: Shapes, node: ir.Node) -> Dims | None:
    data = shapes.elements(query.operand(node, 0))
    if data is None or shapes.rank(query.operand(node, 0)) != 1:
        return None
    bounds = [_bound(shapes, node, at, key) for at, key in ((1, "starts"), (2, "ends"), (4, ""))]
    if bounds[0] is None or bounds[1] is None:
        return None
    step = bounds[2] or 1
    end = None if step < 0 and bounds[1] < -len(data) else bounds[1]
    return data[bounds[0] : end : step]


def _bound(shapes: Shapes, node: ir.Node, at: int, key: str) -> int | None:
    found = shapes.elements(query.operand(node, at)) or (query.integers(node, key) if key else None)
    return found[0] if found and len(found) == 1 and isinstance(found[0], int) else None


def _of_concat(shapes: Shapes, node: ir.Node) -> Dims | None:
    joined: list[Dim] = []
    for value in query.operands(node):
        part = shapes.elements(value)
        if part is None:
            dims = shapes.dims(value)
            if dims is None or len(dims) != 1 or not isinstance(dims[0], int) or dims[0] > LONGEST:
                return None
            part = (None,) * dims[0]
        joined.extend(part)
        if len(joined) > LONGEST:
            return None
    return tuple(joined)


def _arithmetic(
    function: Callable[[int, int], int], neutral: int, symbolic: Callable[[Dim, Dim], Dim] = lambda a, b: None
) -> Callable[[Shapes, ir.Node], Dims | None]:
    def rule(shapes: Shapes, node: ir.Node) -> Dims | None:
        pair = _aligned(shapes, node, 0, 1) if len(query.operands(node)) == 2 else None
        return (
            None
            if pair is None
            else tuple(_calculate(function, neutral, symbolic, a, b) for a, b in zip(*pair, strict=True))
        )

    return rule


def _stretched(elements: Dims, size: int) -> Dims:
    return elements if len(elements) == size else elements * size


def _calculate(
    function: Callable[[int, int], int], neutral: int, symbolic: Callable[[Dim, Dim], Dim], a: Dim, b: Dim
) -> Dim:
    if b == neutral:
        return a
    if not isinstance(a, int) or not isinstance(b, int):
        return symbolic(a, b)
    try:
        made = function(a, b)
    except ZeroDivisionError:
        return None
    return made if abs(made) <= LARGEST else None


def _of_product(shapes: Shapes, node: ir.Node) -> Dims | None:
    found = shapes.elements(query.operand(node, 0))
    return None if found is None else (multiplied(found),)


def factors(sizes: Sequence[Dim]) -> tuple[list[str], int] | None:
    """(the symbols, the product of the numbers) of a product of sizes; None where one is unknown."""
    symbols: list[str] = []
    number = 1
    for size in sizes:
        if size is None:
            return None
        for part in (size,) if isinstance(size, int) else size.split(_TIMES):
            if isinstance(part, int) or (isinstance(size, str) and _TIMES in size and part.isdigit()):
                number *= int(part)
            else:
                symbols.append(part)
    return sorted(symbols), number


def multiplied(sizes: Sequence[Dim]) -> Dim:
    """The product of sizes: a number, a symbol, or symbols and a number written as a product."""
    parts = factors(sizes)
    if parts is None:
        return None
    symbols, number = parts
    return (
        number
        if not symbols or not number
        else _TIMES.join([*symbols, *([str(number)] if number != 1 else [])])
    )


def _of_equal(shapes: Shapes, node: ir.Node) -> Dims | None:
    """1 or 0 for each element; a size equals no negative number."""
    pair = _aligned(shapes, node, 0, 1)
    return None if pair is None else tuple(_equal(a, b) for a, b in zip(*pair, strict=True))


def _equal(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return int(a == b)
    return 0 if any(isinstance(d, int) and d < 0 for d in (a, b)) and None not in (a, b) else None


def _of_where(shapes: Shapes, node: ir.Node) -> Dims | None:
    parts = _aligned(shapes, node, 0, 1, 2)
    if parts is None:
        return None
    return tuple(None if c is None else a if c else b for c, a, b in zip(*parts, strict=True))


def _aligned(shapes: Shapes, node: ir.Node, *places: int) -> list[Dims] | None:
    """The elements of several operands, each of one length or of one element; None where one is unknown."""
    found = [shapes.elements(query.operand(node, at)) for at in places]
    known = [elements for elements in found if elements is not None]
    size = max((len(elements) for elements in known), default=0)
    if len(known) != len(found) or any(len(elements) not in (1, size) for elements in known):
        return None
    return [_stretched(elements, size) for elements in known]


def _filled(shapes: Shapes, node: ir.Node) -> Dims | None:
    """ConstantOfShape: the same integer so many times."""
    target = shapes.elements(query.operand(node, 0))
    if target is None or len(target) > 1 or not all(isinstance(size, int) for size in target):
        return None
    count = query.product([size for size in target if isinstance(size, int)])
    value = query.tensor_attribute(node, "value")
    if value is None or not 0 <= count <= LONGEST or value.size != 1 or value.dtype.is_floating_point():
        return None
    return (int(value.numpy().reshape(-1)[0]),) * count


def split(shapes: Shapes, node: ir.Node) -> list[Dims]:
    """The elements of every output of a Split; none where they cannot be told."""
    data, count = shapes.elements(query.operand(node, 0)), len(node.outputs)
    given = query.integers(node, "split") or shapes.elements(query.operand(node, 1))
    if data is None or shapes.rank(query.operand(node, 0)) != 1 or (given is None and len(data) % count):
        return []
    sizes = (
        [len(data) // count] * count if given is None else [n for n in given if isinstance(n, int) and n >= 0]
    )
    if len(sizes) != count or sum(sizes) != len(data):
        return []
    starts = [sum(sizes[:at]) for at in range(count)]
    return [data[start : start + size] for start, size in zip(starts, sizes, strict=True)]


RULES: dict[str, Callable[[Shapes, ir.Node], Dims | None]] = {
    "Shape": _of_shape,
    "Identity": _same,
    "Cast": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Gather": _of_gather,
    "Slice": _of_slice,
    "Concat": _of_concat,
    "ReduceProd": _of_product,
    "Equal": _of_equal,
    "Where": _of_where,
    "ConstantOfShape": _filled,
    "Add": _arithmetic(lambda a, b: a + b, 0),
    "Sub": _arithmetic(lambda a, b: a - b, 0),
    "Mul": _arithmetic(lambda a, b: a * b, 1, lambda a, b: multiplied((a, b))),
    "Max": _arithmetic(max, -LONGEST, lambda a, b: a if a == b else None),
    "Min": _arithmetic(min, 1 << 62, lambda a, b: a if a == b else None),
    "Div": _arithmetic(lambda a, b: int(a / b) if abs(a) < 1 << 50 else a // b, 1),
}
