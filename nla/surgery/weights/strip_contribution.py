"""strip-contribution: the incoming weights that pull a unit down the most on the data, w_i·E[x_i], to zero.

Requires: a layer that makes the unit alone, and the means of its inputs on the calibration data. Does: of the
contributions w_i·E[x_i] to the mean of z, the given share of the fan-in is taken, the most negative first and only
negative ones, and their weights are set to zero. Ensures: the mean of z rises by exactly what they contributed,
whatever the sign of the inputs: it works behind a LayerNorm too, where stripping by weight does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nla.checkpoint.editing import ModelEdit
from nla.errors import UsageError, printable
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.incoming import Makers, Row
from nla.surgery.weights.inward import inward
from nla.surgery.weights.layout import Layout
from nla.surgery.weights.ledger import Ledger
from nla.surgery.weights.strip import Floats, most_negative, sign
from nla.surgery.weights.way import Layer


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Strip the action's units by contribution; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    given = action.parameters.get("input_mean")
    if isinstance(ways, str) or given is None:
        reason = (
            ways if isinstance(ways, str) else "The recording does not hold the means of its layer's inputs."
        )
        ledger.refuse(action.units, reason)
        return ledger.refused()
    makers, fraction = Makers(edit, structure), float(action.parameters["fraction"])
    layers = makers.own_layers(ways.z, ledger, floating=False)
    means = means_of(action, layers, given)
    for layer, mean in zip(layers, means, strict=True):
        found = makers.weight(layer)
        assert not isinstance(found, str)
        makers.rows(layer, ledger.left, _stripping(found[1], mean, fraction))
    return ledger.refused()


def _stripping(lies: Layout, mean: Floats, fraction: float):  # type: ignore[no-untyped-def]
    def strip(row: Row) -> None:
        inputs = lies.inputs_of(row.view, row.channel)
        row.clear(most_negative(sign(row) * row.real * mean[inputs], fraction))

    return strip


def means_of(action: Action, layers: Sequence[Layer], given: Sequence[float]) -> list[Floats]:
    """The means of each layer's input channels: one list for all that read the same tensor, else one after another.

    Raises:
        UsageError: another count of means.
    """
    if not layers:
        return []
    means = np.asarray(given, np.float64)
    widths = [layer.weighted.inputs for layer in layers]
    if len({layer.weighted.data for layer in layers}) == 1 and len(means) == widths[0]:
        return [means] * len(layers)
    if len(means) != sum(widths):
        raise UsageError(
            f"action {printable(action.id)} ({action.kind} at {printable(action.site, 80)}): input_mean has "
            f"{len(means)} numbers, expected one for each of the {sum(widths)} channels that its layers read"
        )
    return list(np.split(means, np.cumsum(widths)[:-1]))
