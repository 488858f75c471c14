"""Sizes after the cut: the dims of shrunken tensors, and what shape computations in the graph then give."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from nla.graph import query, shape_elements
from nla.graph.flow import Flow
from nla.graph.shapes import Dim, Dims, Shapes
from nla.surgery.cutting.masks import Gone, shortened


class Sizes(Shapes):
    """As `Shapes` of the walk, once the channels have left. Visited in graph order beside the rules."""

    def __init__(self, flow: Flow, gone: Callable[[ir.Value | None], Gone | None]) -> None:
        super().__init__(flow.constants)
        self._flow = flow
        self._gone = gone
        self._sources: dict[ir.Value, frozenset[int]] = {}

    def dims(self, value: ir.Value | None) -> Dims | None:
        """The tensor's sizes after the cut."""
        before, gone = self._flow.shapes.dims(value), self._gone(value)
        if gone is None:
            return before
        rank = self._flow.rank(value) if before is None else len(before)
        if rank is None:
            return None
        sizes: list[Dim] = list(before) if before is not None else [None] * rank
        for axis in gone.axes:
            sizes[axis] = shortened(gone.length(axis), gone.kept(axis))
        return tuple(sizes)

    def visit(self, node: ir.Node) -> None:
        """Learn what a shape computation gives after the cut."""
        outputs = [value for value in node.outputs if value.name]
        if not outputs or all(value in self._flow.constants for value in outputs):
            return
        kind = query.kind(node)
        if kind in shape_elements.RULES:
            elements = shape_elements.RULES[kind](self, node)
            if elements is not None and len(elements) <= shape_elements.LONGEST:
                self._elements[outputs[0]] = elements
        if kind == "Split":
            self._elements.update(zip(node.outputs, shape_elements.split(self, node), strict=False))
        self._follow(node, outputs)

    def changed(self, value: ir.Value | None) -> frozenset[int]:
        """Groups whose leaving changes the numbers in a tensor of sizes; none for every other tensor."""
        return frozenset() if value is None else self._sources.get(value, frozenset())

    def stated(self, node: ir.Node) -> bool:
        """True where an operand that states sizes to the node is one whose numbers change."""
        places = SIZED.get(query.kind(node), ())
        return any(self.changed(operand) for at, operand in enumerate(node.inputs) if at in places)

    def known(self, value: ir.Value) -> bool:
        """True where all numbers of a tensor of sizes are known before and after, in number or by name."""
        before, after = self._flow.shapes.elements(value), self.elements(value)
        return before is not None and after is not None and None not in before and None not in after

    def _follow(self, node: ir.Node, outputs: list[ir.Value]) -> None:
        """Note which outputs hold sizes that change."""
        groups: set[int] = set()
        for at, operand in enumerate(node.inputs):
            if at not in SIZED.get(query.kind(node), ()):
                groups |= self.changed(operand)
        data = query.operand(node, 0)
        gone = self._gone(data) if query.kind(node) in ("Shape", "Size") else None
        if gone is not None:
            groups |= {int(group) for group in gone.groups[gone.flags]}
        for value in outputs if groups else ():
            if not self.known(value) or self._flow.shapes.elements(value) != self.elements(value):
                self._sources[value] = frozenset(groups)


SIZED = {
    "Reshape": (1,),
    "Expand": (1,),
    "Resize": (3,),
    "Upsample": (),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
}
"""Operands that are sizes, of operators whose rules compare them with what is needed after the cut."""
