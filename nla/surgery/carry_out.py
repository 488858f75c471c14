"""Carrying a manifest out on a checkpoint: what changes weights, kind by kind, then all cuts at once."""

from __future__ import annotations

from collections.abc import Sequence

from nla.checkpoint.editing import ModelEdit
from nla.errors import UsageError, printable
from nla.manifest.document import Action, Manifest
from nla.manifest.parameters import CUTS
from nla.surgery.cutting import Cut, cut, wanted
from nla.surgery.outline import outline
from nla.surgery.report import ActionReport, Refused, SurgeryReport, Width, refused_together
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS

_FOR_SIZES = (
    "the graph has it for some sizes of the inputs alone, those of the data among them, and what it is for others "
    "is not known"
)


def carry_out(
    edit: ModelEdit, manifest: Manifest, round_to: int = 1, structure: Structure | None = None
) -> SurgeryReport:
    """Carry all actions of the manifest out on the edit, which is not written yet.

    `structure` is that of the checkpoint with the manifest's constants, where it is known already: it takes time.

    Units that cannot be done stay as they are, and the report says why. A layer that would be left with no
    unit keeps its first one; with `round_to` units stay so that widths are multiples of it. It calls onnx's
    C++: call it in the supervised child.

    Raises:
        UsageError: the manifest names a site, unit or input that the checkpoint does not have, or a unit twice.
        ModelError: the checkpoint cannot be understood.
    """
    if round_to < 1:
        raise UsageError(f"widths cannot be rounded to multiples of {round_to}: expected 1 or more")
    before, bytes_before = edit.parameters(), edit.checkpoint.size_bytes
    if not manifest.actions:
        return SurgeryReport((), (), before, before, bytes_before)
    constants = manifest.constants
    structure = structure or Structure.of(edit.checkpoint, constants)
    possible = _checked(edit, structure, manifest)
    cuts = [action for action in possible if action.kind in CUTS]
    reports = {
        action.id: _weights(edit, structure, action)
        for kind in ACTIONS
        for action in possible
        if action.kind == kind
    }
    if cuts and reports:  # nodes and weights that these made are understood too
        structure = Structure.of(outline(edit), constants)
    done = cut(edit, structure, wanted(structure, cuts), round_to) if cuts else Cut()
    reports.update((action.id, _cut(action, done)) for action in cuts)
    reports.update((action.id, _left(action)) for action in manifest.actions if action not in possible)
    return SurgeryReport(
        tuple(reports[action.id] for action in manifest.actions),
        _widths(structure, done),
        before,
        edit.parameters(),
        bytes_before,
    )


def _checked(edit: ModelEdit, structure: Structure, manifest: Manifest) -> list[Action]:
    """The actions without those whose site the graph has for the sizes of the data alone.

    Raises:
        UsageError: a site or unit that the checkpoint does not have.
    """
    missing = any(action.site not in structure.sites for action in manifest.actions)
    sized = structure
    if missing and manifest.shapes:
        sized = Structure.of(edit.checkpoint, manifest.constants, manifest.shapes)
    for action in manifest.actions:
        known = structure if action.site in structure.sites else sized
        known.check_units(action.site, action.units)
        if action.kind == "flip":
            _check_whole(action, manifest, known.site(action.site).neurons)
    return [action for action in manifest.actions if action.site in structure.sites]


def _check_whole(action: Action, manifest: Manifest, neurons: int) -> None:
    """Refuse to flip a part of a layer: it could kill samples that the others keep alive. Raises UsageError."""
    declined = [
        entry.units for entry in manifest.declined if (entry.kind, entry.site) == (action.kind, action.site)
    ]
    named = set(action.units).union(*declined)
    if action.units and not named.issuperset(range(neurons)):
        raise UsageError(
            f"action {printable(action.id, 40)} flips {len(action.units)} of the {neurons} units of "
            f"{printable(action.site, 80)}: a flip is of a whole layer; name all of its units, or strike the action"
        )


def _left(action: Action) -> ActionReport:
    """An action on a site that nothing is done to."""
    refused = (Refused(action.units, _FOR_SIZES),) if action.units else ()
    return ActionReport(action.id, action.kind, action.site, (), refused)


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
