"""The silent units of a manifest as boolean masks of the weights, for pruners that know nothing of nla."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.manifest.document import Action, Declined, Manifest, Weight

KINDS = ("remove", "mask")
"""Kinds whose units can go by zeros alone: a folded or merged one leaves its value in other weights."""

_MOST_ELEMENTS = 1 << 34

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Masks of the weights, and what they cannot say."""

    masks: dict[str, Mask]
    """By name of the tensor, sorted, in its shape; False for what makes or reads a unit that is to go."""
    left_out: tuple[Declined, ...]
    """Units of the manifest that no mask covers, and why."""


def weight_masks(manifest: Manifest, largest_bytes: int = _MOST_ELEMENTS) -> Masks:
    """The masks of a manifest, of `largest_bytes` together. Tensors of which no unit goes are left out.

    Where the recording did not know which weights read a unit, only those that make it are False.

    Raises:
        UsageError: a weight whose shape, axis or places cannot be, or more of them than there may be.
    """
    found: dict[str, Mask] = {}
    left_out = []
    for action in filter(lambda action: action.units, manifest.actions):
        known = [weight for weight in action.weights if weight.shape is not None and weight.first is not None]
        if action.kind not in KINDS:
            why = f"{action.kind} changes weights in ways that no mask can say; nla apply carries it out"
        elif not any(weight.incoming for weight in known):
            why = "the recording does not say where in the weights its units lie"
        else:
            for weight in known:
                if weight.name not in found:
                    largest_bytes -= prod(weight.shape or ())
                if largest_bytes < 0:
                    raise UsageError(
                        f"{_named(action)}: with the weight {printable(weight.name, 80)} of shape "
                        f"{printable(weight.shape, 80)} the masks take more memory than there is"
                    )
                _cover(found, weight, action)
            continue
        left_out.append(Declined(action.kind, action.site, action.units, why))
    return Masks(dict(sorted(found.items())), tuple(left_out))


def _cover(found: dict[str, Mask], weight: Weight, action: Action) -> None:
    """Adds the action's units to the mask of one weight."""
    shape = weight.shape or ()
    where = f"{_named(action)}: weight {printable(weight.name, 80)}"
    if prod(filter(None, shape)) > _MOST_ELEMENTS or not -len(shape) <= weight.axis < len(shape):
        raise UsageError(f"{where}: a shape of {printable(shape, 80)} with axis {weight.axis} cannot be")
    earlier = found.get(weight.name)
    if earlier is not None and earlier.shape != shape:
        raise UsageError(
            f"{where} has the shape {printable(shape, 80)} here and {printable(earlier.shape, 80)} in another action"
        )
    size = shape[weight.axis]
    firsts = [(weight.first or 0) + weight.stride * unit for unit in (min(action.units), max(action.units))]
    ends = [first + weight.step * last for first in firsts for last in (0, weight.count - 1)]
    if not 0 <= min(ends) <= max(ends) < size:
        worst = max(ends) if min(ends) >= 0 else min(ends)
        raise UsageError(f"{where}: index {worst} of a unit is outside its {size} places")
    if weight.count * len(action.units) > size:
        raise UsageError(f"{where}: its units would have more places than the {size} that there are")
    mask = found.setdefault(weight.name, np.ones(shape, np.bool_))
    begin = (weight.first or 0) + weight.stride * np.asarray(action.units, np.int64)
    places = (begin[:, None] + weight.step * np.arange(weight.count)).ravel()
    np.moveaxis(mask, weight.axis, 0)[places] = False


def _named(action: Action) -> str:
    return f"action {printable(action.id, 40)} ({action.kind} at {printable(action.site, 80)})"
