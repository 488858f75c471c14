"""swap: another activation at a site, in standard ONNX operators of the model's opset.

Requires: an activation that the graph writes out, with z of the layout and type of a. Does: new nodes compute φ(z) into
the tensor that names the site (of a gated product: into its gate), so that readers are not touched; what nothing
reads any more goes. Ensures: the site's tensor is the new φ of the same z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import NodeProto, helper

from nla.checkpoint.editing import ModelEdit
from nla.errors import UsageError, printable
from nla.graph import drafts, query
from nla.graph.activations import Pattern
from nla.graph.drafts import Draft
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.biases import computed_type
from nla.surgery.weights.ledger import Ledger
from nla.surgery.weights.patterns import pattern_of, patterns_of
from nla.surgery.weights.stored import node_after, proto_of

_QUANTISED = "Its activation is part of a quantisation: there is no φ to exchange."
_OLDEST = 7  # before, element-wise operators do not broadcast as they do now
_ERF, _GELU = 9, 20


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Exchange the site's activation; where that is refused, all of its units, with the reason."""
    ledger = Ledger(action.units)
    place = _place(edit, structure, site.name)
    if isinstance(place, str):
        ledger.refuse(action.units, place)
        return ledger.refused()
    if len(set(action.units)) != site.neurons:
        ledger.refuse(
            action.units, f"An activation is exchanged for all {site.neurons} units of a site at once."
        )
        return ledger.refused()
    _exchange(place, str(action.parameters["to"]), action.parameters.get("alpha"))
    return ledger.refused()


@dataclass(frozen=True, eq=False)
class _Place:
    """Where the new activation goes."""

    edit: ModelEdit
    opset: int
    z: str
    output: str
    last: NodeProto
    """The node that makes the output now."""
    dtype: np.dtype[np.generic]
    bias: str = ""
    """Added to z first: the operand of an operator that added it itself."""


def _place(edit: ModelEdit, structure: Structure, name: str) -> _Place | str:
    draft = structure.drafts.get(name)
    if draft is None or draft.what.found not in (drafts.ACTIVATED, drafts.GATED):
        return "The site has no activation that could be exchanged."
    opset = structure.walk.flow.opset
    if opset < _OLDEST:
        return f"The model's opset is {opset}: operators to write an activation with begin with {_OLDEST}."
    patterns = patterns_of(structure)
    pattern = patterns.get(draft.what.gate) if draft.what.gate is not None else pattern_of(patterns, draft)
    if pattern is None:
        return _fused(edit, draft, opset)
    return _written_out(edit, structure, draft, pattern, opset)


def _written_out(
    edit: ModelEdit, structure: Structure, draft: Draft, pattern: Pattern, opset: int
) -> _Place | str:
    node = pattern.output.producer()
    last = None if node is None else proto_of(edit, node)
    if node is None or pattern.tensor is not None or pattern.tentative:
        return _QUANTISED
    if last is None:
        return "Its activation is not in the main graph of the file."
    kinds = {query.kind(one) for one in pattern.nodes}
    if any("QLinear" in kind or kind in ("QuantizeLinear", "DequantizeLinear") for kind in kinds):
        return _QUANTISED
    flow = structure.walk.flow
    fact, after = flow.channels(pattern.z), draft.fact
    if fact is None or fact.axes != after.axes or fact.index.shape != after.index.shape:
        return "Its pre-activation lies in another layout than its activation."
    dtype = _type(edit, structure, pattern)
    out = pattern.output.dtype
    if dtype is None or (out is not None and np.dtype(out.numpy()) != dtype):
        return "Its pre-activation and its activation are of different types, or of one that is not known."
    bias = last.input[1] if pattern.hidden else ""
    return _Place(edit, opset, query.name(pattern.z), query.name(pattern.output), last, dtype, bias)


def _type(edit: ModelEdit, structure: Structure, pattern: Pattern) -> np.dtype[np.generic] | None:
    if isinstance(pattern.z.type, ir.TensorType) and pattern.z.dtype is not None:
        return np.dtype(pattern.z.dtype.numpy())
    layer = structure.walk.layers.get(pattern.z.producer())  # type: ignore[arg-type]
    proto = None if layer is None else proto_of(edit, layer.node)
    return None if proto is None else computed_type(edit, proto, 1)


def _fused(edit: ModelEdit, draft: Draft, opset: int) -> _Place | str:
    """A layer that applies φ itself becomes one that does not."""
    node = draft.value.producer()
    proto = None if node is None else proto_of(edit, node)
    if (
        node is None
        or proto is None
        or query.kind(node) not in ("com.microsoft.FusedConv", "com.microsoft.FusedGemm")
    ):
        return "Its activation is part of an operator that cannot be written without it."
    if len(proto.input) > 3:
        return f"{query.kind(node)} '{query.node_name(node)}' adds a tensor before its activation."
    dtype = computed_type(edit, proto, 1)
    kept = [a for a in proto.attribute if not a.name.startswith("activation")]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    proto.op_type, proto.domain = query.kind(node).removeprefix("com.microsoft.Fused"), ""
    output, z = proto.output[0], edit.fresh(f"{proto.output[0]}_pre")
    proto.output[0] = z
    edit.rewired()
    last = edit.add_node(
        helper.make_node("Identity", [z], [output], edit.fresh(f"{output}_activation")),
        before=node_after(edit, proto),
    )
    return _Place(edit, opset, z, output, last, dtype)


# --- writing φ


class _Writer:
    """Nodes put before `last`, one after the other."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._numbers: dict[float, str] = {}

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node; the name of its output."""
        place = self._place
        name = output or place.edit.fresh(f"{place.output}_{kind.lower()}")
        node = helper.make_node(
            kind, list(inputs), [name], place.edit.fresh(f"{place.output}_{kind}"), **attributes
        )
        place.edit.add_node(node, before=place.last)
        return name

    def number(self, value: float) -> str:
        """A constant; its name."""
        if value not in self._numbers:
            array = np.asarray(value).astype(self._place.dtype)
            self._numbers[value] = self._place.edit.add_weight(f"{self._place.output}_constant", array)
        return self._numbers[value]


def _exchange(place: _Place, to: str, alpha: float | None) -> None:
    write, edit = _Writer(place), place.edit
    retired = edit.fresh(f"{place.output}_before")
    place.last.output[list(place.last.output).index(place.output)] = retired
    edit.rewired()
    z = write.op("Add", place.z, place.bias) if place.bias else place.z
    if to in ("LeakyRelu", "Elu"):
        usual = {"LeakyRelu": 0.01, "Elu": 1.0}[to]
        write.op(to, z, output=place.output, alpha=usual if alpha is None else float(alpha))
    elif to == "Silu":
        write.op("Mul", z, write.op("Sigmoid", z), output=place.output)
    elif to == "Gelu":
        _gelu(write, z, place)
    else:
        raise UsageError(f"swap to {printable(to)!r}: expected LeakyRelu, Elu, Gelu or Silu")
    edit.drop_unread()


def _gelu(write: _Writer, z: str, place: _Place) -> None:
    """z·Φ(z): the operator where there is one, else by Erf, before that by Tanh (which is an approximation)."""
    if place.opset >= _GELU:
        write.op("Gelu", z, output=place.output)
        return
    half = write.op("Mul", z, write.number(0.5))
    if place.opset >= _ERF:
        inner = write.op("Erf", write.op("Div", z, write.number(math.sqrt(2))))
    else:
        cube = write.op("Mul", write.op("Mul", write.op("Mul", z, z), z), write.number(0.044715))
        inner = write.op(
            "Tanh", write.op("Mul", write.op("Add", z, cube), write.number(math.sqrt(2 / math.pi)))
        )
    write.op("Mul", half, write.op("Add", inner, write.number(1.0)), output=place.output)
