"""What makes a unit: the rows of its layers' weights, and what is added and multiplied on the way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.graph.constants import Constants
from nla.surgery.structure import Structure
from nla.surgery.weights.biases import Bias, named
from nla.surgery.weights.layout import Layout, layout
from nla.surgery.weights.ledger import Ledger, chosen
from nla.surgery.weights.stored import Places, Stored, Vector, claimed, located, proto_of, rewrite, stored
from nla.surgery.weights.way import Factor, Layer, Norm, Offset, Seen, Step, Way

Array = NDArray[Any]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Row:
    """The weights of one output channel, to be read as numbers and written."""

    view: Array
    """As the file stores them; writing to it writes to the weight."""
    unit: int
    channel: int
    zero: Array | None
    scale: Floats | None
    slope: float
    """What is added to z where 1 is added to the channel; NaN where that is not known."""

    @property
    def real(self) -> Floats:
        """float64 numbers, of the view's shape."""
        plain = np.asarray(self.view, np.float64)
        if self.zero is None:
            return plain
        shifted = plain - np.asarray(self.zero, np.float64)
        return shifted if self.scale is None else shifted * self.scale

    def clear(self, where: Array | None = None) -> None:
        """Set the weights to zero, or those at which `where` is True."""
        at: Any = ... if where is None else where
        self.view[at] = 0 if self.zero is None else self.zero[at]


@dataclass(frozen=True, eq=False)
class Makers:
    """The steps into a site in an edited file."""

    edit: ModelEdit
    structure: Structure

    @property
    def constants(self) -> Constants:
        """Of the graph."""
        return self.structure.walk.flow.constants

    # --- layers

    def weight(self, layer: Layer) -> tuple[NodeProto, Layout, Stored] | str:
        """A layer's node in the file, and where its weights lie; or why they cannot be edited, a sentence."""
        proto, lies = proto_of(self.edit, layer.weighted.node), layout(layer.weighted)
        if proto is None:
            return f"{named(layer.weighted)} is not in the main graph of the file."
        if isinstance(lies, str):
            return lies
        found = stored(self.edit, proto, lies.weight)
        if isinstance(found, str):
            return found
        bias = Bias(self.edit, self.constants, proto, layer.weighted, lies)
        return (
            (proto, lies, found)
            if bias.known
            else f"The bias of {named(layer.weighted)} is computed in the graph."
        )

    def own_layers(self, way: Way, ledger: Ledger, *, floating: bool) -> list[Layer]:
        """The layers of the way that are a unit's own for one of the ledger's, at least.

        Units that no layer makes alone are refused; those of a layer that cannot be edited likewise. `floating`
        asks for weights that are no integers.
        """
        reached: dict[int, str] = {}
        made: list[Layer] = []
        left = ledger.left
        own: set[int] = set()
        for layer in (step for step in way.steps if isinstance(step, Layer)):
            mine = chosen(layer.seen.unit, left)
            found = self.weight(layer)
            why = found if isinstance(found, str) else self._not_floating(layer, found) if floating else ""
            if why:
                reached.update(dict.fromkeys(layer.seen.unit[mine].tolist(), why))
                continue
            alone = mine[layer.seen.own[mine]]
            others = mine[~layer.seen.own[mine]]
            reason = f"What {named(layer.weighted)} makes of it is read elsewhere too."
            reached.update({int(u): reason for u in layer.seen.unit[others] if int(u) not in reached})
            own.update(layer.seen.unit[alone].tolist())
            if len(alone):
                made.append(layer)
        for unit in left:
            if unit not in own:
                ledger.refuse(
                    [unit], reached.get(unit, "No weighted layer makes it: what does is another site's.")
                )
        return made

    def _not_floating(self, layer: Layer, found: tuple[NodeProto, Layout, Stored]) -> str:
        if found[2].quantised or not found[1].floating:
            return f"The weights of {named(layer.weighted)} are quantised: new numbers would not fit their scale."
        return ""

    def bias(self, layer: Layer) -> Bias:
        """The bias of a layer that `weight` found."""
        found = self.weight(layer)
        assert not isinstance(found, str)
        return Bias(self.edit, self.constants, found[0], layer.weighted, found[1])

    def rows(self, layer: Layer, units: Sequence[int], change: Callable[[Row], None]) -> None:
        """Have `change` called for the row of each of the units that the layer makes alone, when it is written."""
        found = self.weight(layer)
        assert not isinstance(found, str)
        proto, lies, _ = found
        channels = own_channels(layer.seen, units)
        if not len(channels):
            return
        weight = claimed(self.edit, located(self.edit, proto, lies.weight))
        seen = layer.seen

        def apply(view: Array) -> None:
            zeros = None if weight.zero is None else np.broadcast_to(weight.zero, view.shape)
            scales = None if weight.scale is None else np.broadcast_to(weight.scale, view.shape)
            for channel in channels.tolist():
                change(
                    Row(
                        lies.row(view, channel),
                        int(seen.unit[channel]),
                        channel,
                        None if zeros is None else lies.row(zeros, channel),
                        None if scales is None else lies.row(scales, channel),
                        float(seen.slope[channel]),
                    )
                )

        rewrite(self.edit, weight, apply)

    # --- constants on the way

    def vector(self, step: Offset | Factor | Norm, operand: int | None = None) -> Vector | str:
        """The constant of a step (of a normalisation: the one at `operand`)."""
        proto = proto_of(self.edit, step.node)
        at = operand if operand is not None else step.operand if not isinstance(step, Norm) else 1
        if proto is None:
            return f"{_named(step.node)} is not in the main graph of the file."
        vector = Vector(self.edit, proto, at, query.operand(step.node, at), self.constants)
        return (
            vector
            if vector.known
            else f"A constant of {_named(step.node)} is computed in a way that is not followed."
        )

    def change(
        self,
        step: Offset | Factor | Norm,
        channels: Integers,
        function: Callable[[Floats, int], Any],
        operand: int | None = None,
    ) -> None:
        """Put `function(numbers, k)` in the place of the constant's numbers for channel `channels[k]`."""
        vector = self.vector(step, operand)
        assert not isinstance(vector, str)
        if len(channels) and not (
            isinstance(step, Norm) and query.operand(step.node, vector.operand) is None
        ):
            vector.change(self.places(step, channels), function)

    def places(self, step: Step, channels: Integers) -> Places:
        """Channels of the step's output as places of its constants."""
        fact = step.seen.fact
        if isinstance(step, Norm):
            return Places((-1,), (fact.size,), channels.tolist())
        return Places(fact.axes, fact.index.shape, channels.tolist())


def own_channels(seen: Seen, units: Sequence[int]) -> Integers:
    """Channels of one of the units that are its own."""
    mine = chosen(seen.unit, units)
    return mine[seen.own[mine]]


def constants_of(way: Way) -> Iterator[Offset | Factor | Norm]:
    """The steps of a way that are constants on the way."""
    return (step for step in way.steps if isinstance(step, Offset | Factor | Norm))


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
