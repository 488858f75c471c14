"""Carrying a manifest out on a checkpoint: what changes weights, kind by kind, then all cuts at once."""

from __future__ import annotations

from collections.abc import Sequence

from nla.checkpoint.editing import ModelEdit
from nla.errors import UsageError
from nla.manifest.document import Action, Manifest
from nla.manifest.parameters import CUTS
from nla.surgery.cutting import Cut, cut, wanted
from nla.surgery.outline import outline
from nla.surgery.report import ActionReport, SurgeryReport, Width, refused_together
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS


def carry_out(edit: ModelEdit, manifest: Manifest, round_to: int = 1) -> SurgeryReport:
    """Carry all actions of the manifest out on the edit, which is not written yet.

    Units that cannot be done stay as they are, and the report says why. A layer that would be left with no
    unit keeps its first one; with `round_to` units stay so that widths are multiples of it. It calls onnx's
    C++: call it in the supervised child.

    Raises:
        UsageError: the manifest names a site or unit that the checkpoint does not have, or a unit twice.
        ModelError: the checkpoint cannot be understood.
    """
    if round_to < 1:
        raise UsageError(f"widths cannot be rounded to multiples of {round_to}: expected 1 or more")
    before, bytes_before = edit.parameters(), edit.checkpoint.size_bytes
    if not manifest.actions:
        return SurgeryReport((), (), before, before, bytes_before)
    structure = Structure.of(edit.checkpoint)
    for action in manifest.actions:
        structure.check_units(action.site, action.units)
    cuts = [action for action in manifest.actions if action.kind in CUTS]
    reports = {
        action.id: _weights(edit, structure, action)
        for kind in ACTIONS
        for action in manifest.actions
        if action.kind == kind
    }
    if cuts and reports:  # nodes and weights that these made are understood too
        structure = Structure.of(outline(edit))
    done = cut(edit, structure, wanted(structure, cuts), round_to) if cuts else Cut()
    reports.update((action.id, _cut(action, done)) for action in cuts)
    return SurgeryReport(
        tuple(reports[action.id] for action in manifest.actions),
        _widths(structure, done),
        before,
        edit.parameters(),
        bytes_before,
    )


def _weights(edit: ModelEdit, structure: Structure, action: Action) -> ActionReport:
    """Carry one action on weights out."""
    refused = ACTIONS[action.kind](edit, structure, structure.site(action.site), action)
    stay = {unit for entry in refused for unit in entry.units}
    done = tuple(unit for unit in action.units if unit not in stay)
    return ActionReport(action.id, action.kind, action.site, done, tuple(refused))


def _cut(action: Action, done: Cut) -> ActionReport:
    """What the joint cut did of one action."""
    reasons = [
        (unit, done.refused[action.site, unit])
        for unit in action.units
        if (action.site, unit) in done.refused
    ]
    stay = {unit for unit, _ in reasons}
    units = tuple(unit for unit in action.units if unit not in stay)
    return ActionReport(action.id, action.kind, action.site, units, refused_together(reasons))


def _widths(structure: Structure, done: Cut) -> tuple[Width, ...]:
    """The sites that became narrower, those among them that leave units behind for others included."""
    found = []
    for name, groups in _groups(structure):
        gone = sum(int(group) in done.groups for group in groups)
        kept = tuple(sorted(unit for site, unit in done.for_width if site == name))
        if gone or kept:
            found.append(Width(name, len(groups), len(groups) - gone, kept))
    return tuple(found)


def _groups(structure: Structure) -> Sequence[tuple[str, Sequence[int]]]:
    return [(name, structure.coupling.everyone(name).tolist()) for name in structure.drafts]
