"""Changes of stored weights: in place where every reader wants the same, else on a copy for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.surgery.constants import CHAINED, Stored
from nla.surgery.cutting.requests import Array, Change, taking

Edge = tuple[str, int]
"""A reading: the reader's first output, and which of its inputs."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A constant operand of a node that is to change."""

    reader: str
    """First output of the node."""
    at: int
    stored: Stored
    change: Change | None
    delta: Array | None = None
    """Added, with broadcasting, after the change."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the constant once it is changed."""
        if self.change is not None:
            before = self.change.shape
        else:
            before = tuple(self.stored.shape[axis] for axis in self.stored.axes)
        return before if self.delta is None else np.broadcast_shapes(before, self.delta.shape)


class Sharing:
    """Carries changes of operands out on the weights that hold them."""

    def __init__(self, edit: ModelEdit) -> None:
        self._edit = edit
        self.reshaped: set[str] = set()
        """Tensors between weights and operands whose shape changed."""

    def carry_out(self, leaves: Sequence[Leaf]) -> None:
        """Change all operands. Every weight is named by the leaves that read it, and by nothing done before."""
        by_weight: dict[str, list[Leaf]] = {}
        for leaf in leaves:
            by_weight.setdefault(leaf.stored.name, []).append(leaf)
        scales: dict[Edge, Leaf] = {}
        for name, readers in by_weight.items():
            if self._agree(name, readers):
                self._in_place(readers[0])
                for leaf in readers:
                    scales.update({(s.reader, s.at): s for s in self._scales(leaf)})
            else:
                for leaf in readers:
                    self._on_copy(leaf)
        if scales:
            self.carry_out(list(scales.values()))

    def _agree(self, name: str, leaves: Sequence[Leaf]) -> bool:
        """True where everything that reads the weight wants the same of it."""
        wanted = {(leaf.reader, leaf.at) for leaf in leaves}
        found = set(self._edges(name))
        if found != wanted:
            return False
        if len(leaves) == 1:
            return True
        keys = {None if leaf.change is None else (leaf.change.key, leaf.stored.axes) for leaf in leaves}
        return len(keys) == 1 and all(leaf.delta is None for leaf in leaves)

    def _edges(self, name: str) -> Iterator[Edge | None]:
        """All readings of a weight, through copies and dequantisations; None for one that cannot be changed."""
        if self._edit.is_output(name):
            yield None
        for node in self._edit.readers(name):
            places = [at for at, given in enumerate(node.input) if given == name]
            if not places:
                yield None  # a subgraph reads it
            for at in places:
                if at == 0 and node.op_type in CHAINED and node.domain in query.STANDARD:
                    yield from self._edges(node.output[0])
                else:
                    yield node.output[0], at

    def _in_place(self, leaf: Leaf) -> None:
        stored = leaf.stored
        self._edit.transform(stored.name, *self._inward(leaf))
        self.reshaped.update(query.name(node.outputs[0]) for node in stored.chain)

    def _on_copy(self, leaf: Leaf) -> None:
        """A copy of the weight, and of what lies between, for one reader."""
        edit, stored = self._edit, leaf.stored
        reader = edit.node(leaf.reader)
        assert reader is not None
        name = edit.copy_weight(stored.name)
        edit.transform(name, *self._inward(leaf))
        scales = {(scale.reader, scale.at): scale for scale in self._scales(leaf)}
        for node in stored.chain:
            made = query.name(node.outputs[0])
            original = edit.node(made)
            assert original is not None
            copy = onnx.NodeProto()
            copy.CopyFrom(original)
            copy.input[0] = name
            copy.name = edit.fresh(f"{original.name}_copy") if original.name else ""
            for at in range(1, len(copy.input)):
                if (made, at) in scales:
                    copy.input[at] = self._copied(scales[made, at])
            name = copy.output[0] = edit.fresh(f"{made}_copy")
            edit.add_node(copy, before=edit.node(leaf.reader))
        reader = edit.node(leaf.reader)
        assert reader is not None
        reader.input[leaf.at] = name
        edit.rewired()

    def _copied(self, leaf: Leaf) -> str:
        name = self._edit.copy_weight(leaf.stored.name)
        self._edit.transform(name, *self._inward(leaf))
        return name

    def _inward(self, leaf: Leaf) -> tuple[Callable[[Array], Array], tuple[int, ...]]:
        """The function of the stored weight, and the shape that it gives."""
        change, delta = leaf.change, self._in_steps(leaf)

        def function(array: Array) -> Array:
            cut = array if change is None else change.function(array)
            return cut if delta is None else cut + delta

        return leaf.stored.inward(function), leaf.stored.inward_shape(leaf.shape)

    def _in_steps(self, leaf: Leaf) -> Array | None:
        """What is added, in steps of the scale where the weight is quantised."""
        node = leaf.stored.quantised
        if leaf.delta is None or node is None:
            return leaf.delta
        scale = self._edit.weight(query.name(query.operands(node)[1])).astype(np.float64)
        if scale.size > 1 and leaf.change is not None:
            for _, places in leaf.change.lines:
                scale = scale[places]
        steps: Array = np.rint(leaf.delta / scale).astype(np.int64)
        return steps

    def _scales(self, leaf: Leaf) -> Iterator[Leaf]:
        """Scales and zero points that must lose what the weight loses."""
        for node, axis in leaf.stored.scaled(self._edit):
            for at in (1, 2):
                value = node.inputs[at] if at < len(node.inputs) else None
                if value is None or not value.name or leaf.change is None:
                    continue
                lines = leaf.stored.lines_at(node, leaf.change.lines)
                shape = self._edit.shape(value.name)
                if len(shape) == 1:
                    lines = [(0, places) for at_axis, places in lines if at_axis == axis]
                if not lines:
                    continue
                own = Stored(value, value.name, shape, tuple(range(len(shape))), ())
                yield Leaf(query.name(node.outputs[0]), at, own, taking(shape, lines))
