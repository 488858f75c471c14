"""reset: a unit born anew (ReDo, Sokar et al. 2023): incoming weights drawn, bias zero, outgoing weights zero.

Requires: a layer of floating weights that makes the unit alone; columns that read it alone. Does: the rows are drawn
from the uniform distribution of the scheme (He, Glorot, LeCun), from a stream of their own for every (seed, site,
unit), so that a unit's draw does not depend on which others are reset; biases on the way become zero, scales one,
moments of a BatchNorm those of a new one. What the unit gave its readers in the mean goes into their biases before
its columns become zero. Ensures: outputs are what they were for a unit that is constant; for a dormant one they differ
by what it varied.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.incoming import Makers, Row, constants_of, own_channels
from nla.surgery.weights.inward import inward
from nla.surgery.weights.layout import Layout
from nla.surgery.weights.ledger import Ledger, by_unit
from nla.surgery.weights.reads import leave, plan_leaving
from nla.surgery.weights.strip_contribution import means_of
from nla.surgery.weights.way import Factor, Layer, Norm, Way


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Reset the action's units; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    if isinstance(ways, str):
        ledger.refuse(action.units, ways)
        return ledger.refused()
    makers = Makers(edit, structure)
    layers = [makers.own_layers(way, ledger, floating=True) for way in ways.ways]
    given = action.parameters.get("input_mean")
    if given is not None:  # not needed where nothing is stripped, and still no place for a slip
        means_of(action, [layer for own in layers for layer in own], given)
    means = by_unit(action, "means", 0.0)
    leaving = plan_leaving(edit, structure, site.name, means, ledger, exact=False)
    if leaving is None or not ledger.left:
        return ledger.refused()
    leave(edit, structure, leaving, ledger.left)
    number = 0
    for way, own in zip(ways.ways, layers, strict=True):
        for layer in own:
            _draw(makers, layer, site, action, number, ledger.left)
            number += 1
        _renew(makers, way, ledger.left)
    return ledger.refused()


def _draw(makers: Makers, layer: Layer, site: Site, action: Action, number: int, units: list[int]) -> None:
    found = makers.weight(layer)
    assert not isinstance(found, str)
    lies, scheme, seed = found[1], str(action.parameters["scheme"]), int(action.parameters["seed"])

    def draw(row: Row) -> None:
        generator = stream(seed, site.name, row.unit, number)
        limit = _limit(scheme, row.view.size, _fan_out(lies, row))
        row.view[...] = generator.uniform(-limit, limit, row.view.shape).astype(row.view.dtype)

    makers.rows(layer, units, draw)
    makers.bias(layer).clear(own_channels(layer.seen, units).tolist())


def stream(seed: int, site: str, unit: int, number: int = 0) -> np.random.Generator:
    """Random numbers that follow from the seed, the site's name, the unit and the number of its layer alone."""
    digest = hashlib.sha256(site.encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(digest[:16], "little"), unit, number]))


def _limit(scheme: str, fan_in: int, fan_out: float) -> float:
    """Bound of the uniform distribution: √(3·variance), with 2/fan_in, 2/(fan_in + fan_out) or 1/fan_in."""
    variance = {"he": 2 / fan_in, "glorot": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}[scheme]
    return math.sqrt(3 * variance)


def _fan_out(lies: Layout, row: Row) -> float:
    """Weights that read one input channel: of the unit's fan-in, the share of one channel, times the outputs."""
    return row.view.size / (lies.inputs / lies.groups) * (lies.outputs / lies.groups)


def _renew(makers: Makers, way: Way, units: list[int]) -> None:
    """Constants on the way as in a new network: biases zero, scales one, moments zero and one."""
    for step in constants_of(way):
        channels = own_channels(step.seen, units)
        if not len(channels) or isinstance(makers.vector(step), str):
            continue
        if isinstance(step, Norm):
            fresh = ((1, 1.0), (2, 0.0), *(((3, 0.0), (4, 1.0)) if step.moments else ()))
            for operand, number in fresh:
                if query.operand(step.node, operand) is not None:
                    makers.change(step, channels, lambda *_, number=number: number, operand=operand)
        else:
            number = 1.0 if isinstance(step, Factor) else 0.0
            makers.change(step, channels, lambda *_, number=number: number)
