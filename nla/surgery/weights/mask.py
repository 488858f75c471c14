"""mask: incoming and outgoing weights of units to zero; no shape changes.

Requires: everything that makes the unit, and everything that reads it, is the unit's own. Does: rows, biases and
per-channel scales on the way to zero, columns to zero; what a constant unit gave its readers goes into their biases.
Ensures: the unit's activation is φ(0) for every input and nobody reads it; outputs are what they were where the unit
had the value that the action names (0 where it names none).
"""

from __future__ import annotations

import numpy as np

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.biases import named
from nla.surgery.weights.incoming import Makers, own_channels
from nla.surgery.weights.inward import inward
from nla.surgery.weights.ledger import Ledger, by_unit, chosen
from nla.surgery.weights.reads import leave, plan_leaving
from nla.surgery.weights.way import Dark, Layer, Norm, Offset, Step, Way


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Mask the action's units; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    if isinstance(ways, str):
        ledger.refuse(action.units, ways)
        return ledger.refused()
    makers = Makers(edit, structure)
    for way in ways.ways:
        for step in way.steps:
            _check(makers, step, ledger)
    leaving = plan_leaving(edit, structure, site.name, by_unit(action, "values", 0.0), ledger, exact=True)
    if leaving is None or not ledger.left:
        return ledger.refused()
    leave(edit, structure, leaving, ledger.left)
    for way in ways.ways:
        _clear(makers, way, ledger.left)
    return ledger.refused()


def _check(makers: Makers, step: Step, ledger: Ledger) -> None:
    """Refuse the units that the step would still make something of."""
    seen = step.seen
    mine = chosen(seen.unit, ledger.left)
    bare = mine[~seen.covered[mine]]
    if isinstance(step, Dark):
        ledger.refuse(seen.unit[bare], f"It is not made of its own weights alone: {step.reason}.")
        return
    if isinstance(step, Layer):
        found: object = makers.weight(step)
        name = named(step.weighted)
    else:
        found = makers.vector(step)
        name = f"{query.kind(step.node)} '{query.node_name(step.node)}'"
    if isinstance(found, str):
        ledger.refuse(seen.unit[bare], found)
    if isinstance(step, Layer | Offset | Norm):
        ledger.refuse(seen.unit[bare[~seen.own[bare]]], f"What {name} makes of it is read elsewhere too.")


def _clear(makers: Makers, way: Way, units: list[int]) -> None:
    for step in way.steps:
        if isinstance(step, Dark):
            continue
        channels = own_channels(step.seen, units)
        if isinstance(step, Layer):
            if not isinstance(makers.weight(step), str) and len(channels):
                makers.rows(step, units, lambda row: row.clear())
                makers.bias(step).clear(channels.tolist())
        elif not isinstance(makers.vector(step), str):
            if isinstance(step, Norm):
                makers.change(step, channels, lambda *_: np.float64(0), operand=2)
            if not getattr(step, "divides", False):
                makers.change(step, channels, lambda *_: np.float64(0))
