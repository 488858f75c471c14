"""shift: a number added to a unit's pre-activation z, by its bias.

Requires: z is the unit's own. Does: the number goes to the bias that lies nearest to z and is the unit's own (the beta
of a BatchNorm on the way, a layer's bias, a constant that is added), divided by the scales behind it; where there is
none, one is made. With `zero_outgoing` the columns that read the unit become zero. Ensures: z rises by the number for
every input; outputs stay with `zero_outgoing` where the unit was zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nla.checkpoint.editing import ModelEdit
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.incoming import Makers, own_channels
from nla.surgery.weights.insert import add_before_activation, why_no_place
from nla.surgery.weights.inward import inward
from nla.surgery.weights.ledger import Ledger, by_unit
from nla.surgery.weights.reads import leave, plan_leaving
from nla.surgery.weights.way import Layer, Norm, Offset, Step, Way


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Shift the action's units; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    if isinstance(ways, str):
        ledger.refuse(action.units, ways)
        return ledger.refused()
    makers = Makers(edit, structure)
    places = _places(makers, ways.z, ledger)
    leaving = None
    if action.parameters.get("zero_outgoing"):
        zeros = dict.fromkeys(action.units, 0.0)
        leaving = plan_leaving(edit, structure, site.name, zeros, ledger, exact=True)
    if not ledger.left:
        return ledger.refused()
    if leaving is not None:
        leave(edit, structure, leaving, ledger.left)
    delta = by_unit(action, "delta")
    for step in ways.z.steps:
        units = [unit for unit in ledger.left if places[unit] is step]
        if units:
            _add(makers, step, units, delta)
    rest = {unit: delta[unit] for unit in ledger.left if places[unit] is None}
    if rest:
        add_before_activation(makers, ways.z, rest)
    return ledger.refused()


def _places(makers: Makers, way: Way, ledger: Ledger) -> dict[int, Step | None]:
    """Where each unit's number goes; None for a bias of its own before the activation."""
    found: dict[int, Step | None] = {}
    for step in way.steps:
        if not _takes(makers, step):
            continue
        channels = own_channels(step.seen, ledger.left)
        slope = step.seen.slope[channels]
        for unit in step.seen.unit[channels[np.isfinite(slope) & (slope != 0)]].tolist():
            found.setdefault(unit, step)
    why = why_no_place(makers, way)
    for unit in ledger.left:
        if unit not in found:
            found[unit] = None
            if why:
                ledger.refuse([unit], why)
    return found


def _takes(makers: Makers, step: Step) -> bool:
    if isinstance(step, Layer):
        found = makers.weight(step)
        return not isinstance(found, str) and found[1].floating
    if isinstance(step, Norm) and len(step.node.inputs) < 3:
        return False
    return isinstance(step, Offset | Norm) and not isinstance(makers.vector(step), str)


def _add(makers: Makers, step: Step, units: list[int], delta: Mapping[int, float]) -> None:
    channels = own_channels(step.seen, units)
    amounts = np.array([delta[int(unit)] for unit in step.seen.unit[channels]]) / step.seen.slope[channels]
    if isinstance(step, Layer):
        makers.bias(step).add(channels.tolist(), amounts)
    elif isinstance(step, Norm):
        makers.change(step, channels, lambda old, k: old + amounts[k], operand=2)
    elif isinstance(step, Offset):
        makers.change(step, channels, lambda old, k: old + step.sign * amounts[k])
