"""strip: synaptic stripping as published, the most negative share of a unit's incoming weights to zero.

Requires: a layer that makes the unit alone. Does: of its weights, the given share of the fan-in is taken, the most
negative first and only negative ones, and set to zero. Behind a scale that turns the sign (a BatchNorm of negative
gamma) the most positive ones are those that pull the unit down, and are taken. Of a gated product the gate is stripped:
it is what silences it. Ensures: z rises where the inputs are not negative; where they have mean zero (behind a
LayerNorm) it need not, see `strip_contribution`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nla.checkpoint.editing import ModelEdit
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.incoming import Makers, Row
from nla.surgery.weights.inward import inward
from nla.surgery.weights.ledger import Ledger

Floats = NDArray[np.float64]


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Strip the action's units; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    if isinstance(ways, str):
        ledger.refuse(action.units, ways)
        return ledger.refused()
    makers, fraction = Makers(edit, structure), float(action.parameters["fraction"])

    def strip(row: Row) -> None:
        row.clear(most_negative(row.real * sign(row), fraction))

    for layer in makers.own_layers(ways.z, ledger, floating=False):
        makers.rows(layer, ledger.left, strip)
    return ledger.refused()


def sign(row: Row) -> float:
    """The sign with which the channel enters z; where it is not known, as it is."""
    return -1.0 if row.slope < 0 else 1.0


def most_negative(numbers: Floats, fraction: float) -> NDArray[np.bool_]:
    """True at the most negative `fraction` of the numbers (rounded, at least one), only at negative ones.

    >>> most_negative(np.array([-1.0, 2.0, -3.0, -2.0]), 0.5).tolist()
    [False, False, True, True]
    """
    flat = numbers.reshape(-1)
    count = min(len(flat), max(1, math.floor(fraction * len(flat) + 0.5)))
    lowest = np.argsort(flat, kind="stable")[:count]
    chosen = np.zeros(len(flat), bool)
    chosen[lowest[flat[lowest] < 0]] = True
    return chosen.reshape(numbers.shape)
