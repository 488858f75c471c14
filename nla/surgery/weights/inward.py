"""The ways into a site: where its pre-activation, or its two in a gated product, come from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.graph import drafts
from nla.graph.activations import Pattern
from nla.graph.channels import Channels
from nla.graph.drafts import Draft
from nla.surgery.structure import Structure
from nla.surgery.weights.back import Back
from nla.surgery.weights.matching import keys
from nla.surgery.weights.patterns import pattern_of, patterns_of
from nla.surgery.weights.way import Inward, Way

_NOT_ALONE = {
    "recurrent": "Its units are those of a recurrent layer, each of which has rows in the weights of every gate.",
    drafts.HEAD: "Its units are heads of an attention, which have no weights that make them alone.",
}


def inward(structure: Structure, name: str) -> Inward | str:
    """The ways into the site `name`; or why there is none to follow, a sentence."""
    draft = structure.drafts.get(name)
    if draft is None:
        return "The site has no activation of its own: act on the one whose neurons it shows."
    if draft.recurrent is not None or draft.what.found == drafts.HEAD:
        return _NOT_ALONE["recurrent" if draft.recurrent is not None else drafts.HEAD]
    patterns = patterns_of(structure)
    if draft.what.found == drafts.GATED:
        return _gated(structure, draft, patterns)
    pattern = pattern_of(patterns, draft)
    if pattern is None:  # the layer applies φ itself, or there is none
        return Inward(Back(structure, draft.value, draft.fact, None).way())
    z = structure.walk.flow.channels(pattern.z)
    if z is not None and not np.array_equal(keys(z), keys(draft.fact)):
        return "Its pre-activation lies in another layout than its activation."
    return Inward(_of_pattern(structure, pattern, draft.fact))


def _gated(structure: Structure, draft: Draft, patterns: dict[ir.Value, Pattern]) -> Inward | str:
    gate, up, product = draft.what.gate, draft.what.up, draft.value.producer()
    pattern = None if gate is None else patterns.get(gate)
    fact = structure.walk.flow.channels(up)
    if pattern is None or up is None or fact is None or product is None or fact.size != draft.fact.size:
        return "The two factors of its gated product cannot be told apart."
    return Inward(
        _of_pattern(structure, pattern, draft.fact),
        Back(structure, up, fact, frozenset((product,))).way(),
    )


def _of_pattern(structure: Structure, pattern: Pattern, fact: Channels) -> Way:
    z = structure.walk.flow.channels(pattern.z)
    back = Back(structure, pattern.z, fact if z is None else z, pattern.nodes)
    node = pattern.output.producer()
    if pattern.hidden and node is not None:  # its bias is added inside the operator
        back.hidden = node
    return back.way()
