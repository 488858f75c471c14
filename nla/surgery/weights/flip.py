"""flip: the sign of a layer's parameters turned, so that z becomes -z for every input.

Requires: z is made by the layer's own weights, through steps in which a sign passes (no max pooling). Does: the last
normalisation's gamma and beta, or the weights and bias, of every unit are negated, and so is what is added behind them.
Ensures: z is exactly -z. Samples that the layer killed (all of its z below zero) live, and those that lived by units
of one sign only die: it helps where more than half are dead.
"""

from __future__ import annotations

import numpy as np

from nla.checkpoint.editing import ModelEdit
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights.biases import named
from nla.surgery.weights.incoming import Makers, Row, own_channels
from nla.surgery.weights.inward import inward
from nla.surgery.weights.ledger import Ledger, chosen
from nla.surgery.weights.way import LINEAR, Dark, Factor, Layer, Norm, Offset, Way

_PASSING = (
    LINEAR
    | {"AveragePool", "ReduceSum", "Pad", "Neg", "Add", "Sub", "Sum", "Mul", "Div", "Gemm"}
    | {
        "BatchNormalization",
        "InstanceNormalization",
    }
)
"""Operators that hand on a change of sign."""


def carry_out(edit: ModelEdit, structure: Structure, site: Site, action: Action) -> list[Refused]:
    """Turn the sign of the action's units; those that stay as they are, with the reasons."""
    ledger = Ledger(action.units)
    ways = inward(structure, site.name)
    if isinstance(ways, str):
        ledger.refuse(action.units, ways)
        return ledger.refused()
    makers, way = Makers(edit, structure), ways.z
    turning = sorted(way.crossed - _PASSING)
    if turning:
        ledger.refuse(action.units, f"{turning[0]} lies before it, and does not hand on a change of sign.")
    _check(makers, way, ledger)
    if ledger.left:
        _negate(makers, way, ledger.left)
    return ledger.refused()


def _check(makers: Makers, way: Way, ledger: Ledger) -> None:
    for step in way.steps:
        seen = step.seen
        mine = chosen(seen.unit, ledger.left)
        bare = mine[~_behind_norm(way, step, mine)]
        if isinstance(step, Dark):
            ledger.refuse(seen.unit[bare], f"It is not made of its own weights alone: {step.reason}.")
            continue
        if isinstance(step, Factor):
            continue
        found = makers.weight(step) if isinstance(step, Layer) else makers.vector(step)
        if isinstance(found, str):
            ledger.refuse(seen.unit[bare], found)
        elif isinstance(step, Layer) and (found[2].quantised or not found[1].floating):  # type: ignore[index]
            ledger.refuse(
                seen.unit[bare],
                f"The weights of {named(step.weighted)} are quantised, and their range is not symmetric.",
            )
        ledger.refuse(seen.unit[bare[~seen.own[bare]]], "What it is made of is read elsewhere too.")


def _behind_norm(way: Way, step: object, mine: np.ndarray) -> np.ndarray:
    """True for channels whose sign is turned between the step and z: a normalisation of the unit's own lies there."""
    seen = step.seen  # type: ignore[attr-defined]
    behind = np.zeros(len(mine), bool)
    for other in way.steps:
        if other is step:
            break
        if isinstance(other, Norm):
            units = other.seen.unit[other.seen.own]
            behind |= np.isin(seen.unit[mine], units) & seen.covered[mine]
    return behind


def _negate(makers: Makers, way: Way, units: list[int]) -> None:
    for step in way.steps:
        if isinstance(step, Dark | Factor):
            continue
        channels = own_channels(step.seen, units)
        channels = channels[~_behind_norm(way, step, channels)]
        if not len(channels):
            continue
        if isinstance(step, Layer):
            wanted = step.seen.unit[channels].tolist()
            makers.rows(step, wanted, _turned)
            makers.bias(step).negate(channels.tolist())
        elif isinstance(step, Norm):
            for operand in (1, 2):
                makers.change(step, channels, lambda old, _: -old, operand=operand)
        elif isinstance(step, Offset):
            makers.change(step, channels, lambda old, _: -old)


def _turned(row: Row) -> None:
    row.view[...] = -row.view
