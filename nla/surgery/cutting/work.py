"""One pass over a graph from which some channel groups are to leave: what the rules ask, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from nla.checkpoint.editing import ModelEdit
from nla.errors import printable
from nla.graph import query
from nla.surgery.constants import Stored, current, stored
from nla.surgery.cutting.masks import Gone, Places
from nla.surgery.cutting.requests import Array, Change, Requests, taking
from nla.surgery.cutting.sizes import Sizes
from nla.surgery.structure import Structure

Content = NDArray[np.float64]
"""The value that every channel of a tensor has at all its positions, in the shape of its channel axes; NaN where
that is not one value, not known, or of a channel that stays."""

Relation = tuple[float, float]
"""(s, o): the channels of a group that is merged into another are s times the other's, plus o."""
Relations = dict[int, Relation]
"""By merged group; one that is missing has no such relation at the tensor, or none that is known."""


class Unfit(Exception):  # noqa: N818 - not a fault: the channels stay, and the report says why
    """A node that the cut does not fit: `reason` as a sentence's end, `groups` that must stay (None: all)."""

    def __init__(self, reason: str, groups: Iterable[int] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.groups = None if groups is None else frozenset(int(group) for group in groups)


def named(node: ir.Node) -> str:
    """The node as messages name it."""
    return f"{query.kind(node)} '{printable(query.node_name(node))}'"


class Work:
    """The state of one pass. Rules read what leaves where, and leave requests."""

    def __init__(
        self,
        edit: ModelEdit,
        structure: Structure,
        cut: Collection[int],
        merges: Mapping[int, int] | None = None,
    ) -> None:
        self.edit = edit
        self.structure = structure
        self.walk = structure.walk
        self.flow = structure.walk.flow
        self.constants = structure.walk.flow.constants
        self.products = structure.coupling.products
        """Nodes of attention in which heads meet on both sides."""
        self.requests = Requests()
        self.contents: dict[ir.Value, Content] = {}
        self.lost: dict[ir.Value, dict[int, str]] = {}
        """By tensor and channel group, why the content there is not known, a clause; see `unknown`."""
        self.merges = {group: other for group, other in (merges or {}).items() if group in cut}
        """Groups that leave because another group, which stays, can stand in for them."""
        self.relations: dict[ir.Value, Relations] = {}
        self.sizes = Sizes(self.flow, self.gone)
        self._cut = np.fromiter(sorted(cut), np.int64, len(cut))
        self._gone: dict[ir.Value, Gone | None] = {}

    # --- what leaves

    def gone(self, value: ir.Value | None) -> Gone | None:
        """The channels of the tensor that leave; None where none do."""
        if value is None:
            return None
        if value not in self._gone:
            placed = self.structure.coupling.placed(value)
            flags = None if placed is None else np.isin(placed.groups, self._cut)
            found = None
            if placed is not None and flags is not None and flags.any():
                found = Gone(placed.axes, flags, placed.groups)
            self._gone[value] = found
        return self._gone[value]

    def touched(self, node: ir.Node) -> list[Gone]:
        """What leaves of everything that the node reads or makes."""
        values = query.captured(node) if query.is_control_flow(node) else query.operands(node)
        found = [self.gone(value) for value in (*values, *node.outputs)]
        return [gone for gone in found if gone is not None]

    def kept(self, value: ir.Value | None, axis: int) -> Places | None:
        """Places that stay along a negative axis of the tensor; None where all do."""
        gone = self.gone(value)
        return None if gone is None else gone.kept(axis)

    def content(self, value: ir.Value | None) -> Content:
        """The values of the tensor's channels; all NaN where nothing is known."""
        assert value is not None
        fact = self.flow.channels(value)
        shape = () if fact is None else fact.index.shape
        return self.contents.get(value, np.full(shape, np.nan))

    def places(self, value: ir.Value, group: int) -> Places:
        """The channels of the tensor that belong to the group, counted in row-major order."""
        placed = self.structure.coupling.placed(value)
        return np.flatnonzero([] if placed is None else placed.groups.reshape(-1) == group)

    # --- the file

    def proto(self, node: ir.Node) -> onnx.NodeProto:
        """The node in the file. Raises Unfit where it is not in the main graph as the analysis has it."""
        found = self.edit.node(query.name(node.outputs[0]))
        inputs = [query.name(value) if value is not None else "" for value in node.inputs]
        if found is None or found.op_type != node.op_type or _trimmed(found.input) != _trimmed(inputs):
            raise Unfit(f"{named(node)} is inside a function or a branch of the file, where nothing is cut")
        return found

    def stored(self, node: ir.Node, at: int) -> Stored | None:
        """Where the elements of a constant operand are stored; None where the graph computes it."""
        value = query.operand(node, at)
        assert value is not None
        return stored(self.edit, self.constants, value)

    def array(self, value: ir.Value | None) -> Array | None:
        """A constant as it stands now, with what other actions did to it; None where it cannot be read."""
        if value is None or value not in self.constants:
            return None
        return current(self.edit, self.constants, value)

    def check_editable(self, node: ir.Node, at: int) -> Stored | None:
        """`stored`; raises Unfit where the operand is computed in a way that cannot be computed here."""
        found = self.stored(node, at)
        value = query.operand(node, at)
        if found is None and self.array(value) is None:
            name = printable("" if value is None else query.name(value))
            raise Unfit(f"'{name}', a weight of {named(node)}, is computed in the graph")
        return found

    # --- requests

    def take(self, node: ir.Node, at: int, cuts: Sequence[tuple[int, Places | None]]) -> None:
        """Keep only some places along axes (from the front) of a constant operand."""
        shape = self.constants.shape(query.operand(node, at))
        if shape is None:
            raise Unfit(f"a constant of {named(node)} has no known shape")
        given = [(axis, places) for axis, places in cuts if places is not None]
        if any(axis >= len(shape) or places.max(initial=-1) >= shape[axis] for axis, places in given):
            raise Unfit(f"a constant of {named(node)} does not fit its channels")
        if given:
            self.change(node, at, taking(shape, given))

    def change(self, node: ir.Node, at: int, change: Change) -> None:
        """Ask for a change of a constant operand. Raises Unfit where its scales could not follow."""
        found = self.check_editable(node, at)
        why = "" if found is None else found.check(self.edit, change.lines, change.shape)
        if why:
            raise Unfit(f"a weight of {named(node)} {why}")
        self.requests.changes[node, at] = change

    def take_broadcast(self, node: ir.Node, at: int, gone: Gone) -> None:
        """Cut a constant operand that is spread over a tensor of which `gone` leaves, where it is as long."""
        shape = self.constants.shape(query.operand(node, at))
        if shape is None:
            raise Unfit(f"a constant of {named(node)} has no known shape")
        cuts: list[tuple[int, Places | None]] = []
        for axis in gone.axes:
            size = shape[axis] if len(shape) >= -axis else 1
            if size not in (1, gone.length(axis)):
                raise Unfit(f"a constant of {named(node)} does not fit its channels")
            if size != 1:
                cuts.append((axis + len(shape), gone.kept(axis)))
        self.take(node, at, cuts)

    def set_constant(self, node: ir.Node, at: int, key: str, values: Sequence[int]) -> None:
        """Give an operand of integers, or the attribute `key` where the node has that instead, new values."""
        if query.integers(node, key) is not None:
            self.requests.attributes[node, key] = [int(value) for value in values]
        else:
            kind = self.array(query.operand(node, at))
            dtype = np.dtype(np.int64) if kind is None or kind.dtype.kind not in "iu" else kind.dtype
            self.requests.constants[node, at] = np.asarray(values, dtype)


def _trimmed(names: Iterable[str]) -> list[str]:
    """Without the empty names at the end, which say nothing."""
    found = list(names)
    while found and not found[-1]:
        found.pop()
    return found


@dataclass(frozen=True)
class Rule:
    """What a family does at a node that touches channels that leave."""

    cut: Callable[[Work, ir.Node], None]
    """Leaves requests; raises Unfit where the node cannot follow."""
    carry: Callable[[Work, ir.Node], Sequence[Content | None]] = lambda work, node: ()
    """The contents of the node's outputs, as far as they are known."""


def nothing(work: Work, node: ir.Node) -> None:
    """For nodes that follow the channels by themselves: one input, one output, nothing to edit."""
    if work.gone(node.outputs[0]) is None:
        raise Unfit(f"{named(node)} ends the channels")
