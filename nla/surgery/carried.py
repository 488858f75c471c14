"""The manifest as it was carried out: what the surgery left alone moved from the actions to the declined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from nla.manifest.document import Action, Declined, Manifest
from nla.manifest.parameters import PARAMETERS, PER_UNIT_EVIDENCE
from nla.surgery.report import SurgeryReport

_FOR_THE_WIDTH = "kept for the width of the layer"


def digest(manifest: Manifest) -> str:
    """sha256 of the manifest's text."""
    return sha256(manifest.dumps().encode()).hexdigest()


def carried_out(manifest: Manifest, report: SurgeryReport) -> Manifest:
    """The manifest without the units that stayed, which are declined with the surgery's reasons."""
    stayed = report.stayed()
    refused = {action.id: action.refused for action in report.actions}
    actions, declined = [], list(manifest.declined)
    for action in manifest.actions:
        left = set(stayed.get(action.id, ()))
        for entry in refused.get(action.id, ()):
            declined.append(Declined(action.kind, action.site, entry.units, entry.reason))
            left -= set(entry.units)
        if left:
            declined.append(Declined(action.kind, action.site, tuple(sorted(left)), _FOR_THE_WIDTH))
        kept = without(action, stayed.get(action.id, ()))
        if kept.units:
            actions.append(kept)
    return replace(manifest, actions=tuple(actions), declined=tuple(declined))


def without(action: Action, units: Collection[int]) -> Action:
    """The action without these units, and without what is said of them."""
    if not units:
        return action
    gone = set(units)
    places = [place for place, unit in enumerate(action.units) if unit not in gone]
    per_unit = [name for name, each in PARAMETERS[action.kind].items() if each.per_unit]
    effect = {**action.effect, "units": len(places)} if "units" in action.effect else action.effect
    return replace(
        action,
        units=tuple(action.units[place] for place in places),
        parameters=_picked(action.parameters, per_unit, places),
        evidence=_picked(action.evidence, PER_UNIT_EVIDENCE, places),
        effect=effect,
    )


def _picked(values: Mapping[str, Any], names: Sequence[str], places: Sequence[int]) -> dict[str, Any]:
    return {
        name: [value[place] for place in places] if name in names else value for name, value in values.items()
    }
