"""Actions that change weights and leave every shape as it is, one file each."""

from __future__ import annotations

from collections.abc import Callable

from nla.checkpoint.editing import ModelEdit
from nla.manifest.document import Action
from nla.site import Site
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights import flip, mask, reset, shift, strip, strip_contribution, swap

CarryOut = Callable[[ModelEdit, Structure, Site, Action], list[Refused]]

ACTIONS: dict[str, CarryOut] = {
    "flip": flip.carry_out,
    "shift": shift.carry_out,
    "strip": strip.carry_out,
    "strip-contribution": strip_contribution.carry_out,
    "reset": reset.carry_out,
    "mask": mask.carry_out,
    "swap": swap.carry_out,
}
"""What carries an action of a kind out, in the order in which kinds are carried out."""
