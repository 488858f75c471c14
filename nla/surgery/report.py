"""What surgery did: per action the units done and those refused, and what became of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nla.manifest.parameters import CUTS

DIGEST, STAYED = "nla.manifest", "nla.stayed"
"""Keys of the written model's metadata: the manifest's digest, and by action the units that stayed after all."""


@dataclass(frozen=True)
class Refused:
    """Units of an action that stay as they are, and why."""

    units: tuple[int, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"units": list(self.units), "reason": self.reason}


@dataclass(frozen=True)
class ActionReport:
    """What became of one action."""

    id: str
    kind: str
    site: str
    done: tuple[int, ...]
    """Units that the action was carried out on."""
    refused: tuple[Refused, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "site": self.site,
            "done": list(self.done),
            "refused": [entry.to_dict() for entry in self.refused],
        }


@dataclass(frozen=True)
class Width:
    """How wide a site is before and after the cut."""

    site: str
    before: int
    after: int
    kept: tuple[int, ...] = ()
    """Units that could have gone and stay for the width: of a layer that would have none left, or whose
    width is to be a multiple of a number."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"site": self.site, "before": self.before, "after": self.after, "kept": list(self.kept)}


@dataclass(frozen=True)
class SurgeryReport:
    """What surgery did to a checkpoint."""

    actions: tuple[ActionReport, ...]
    widths: tuple[Width, ...] = ()
    """Sites whose width changed, or of which units were kept for the width, in graph order."""
    parameters_before: int = 0
    parameters_after: int = 0
    bytes_before: int = 0
    bytes_after: int | None = None
    """None until the file is written."""
    multiply_adds_before: int | None = None
    """Of one sample; None where sizes are not known before a run."""
    multiply_adds_after: int | None = None
    notes: tuple[str, ...] = field(default=())

    def done(self, *kinds: str) -> int:
        """Units that actions of these kinds were carried out on, of every kind where none is named."""
        return sum(len(action.done) for action in self.actions if not kinds or action.kind in kinds)

    def refused(self, *kinds: str) -> int:
        """Units that actions of these kinds left alone, of every kind where none is named."""
        chosen = (action for action in self.actions if not kinds or action.kind in kinds)
        return sum(len(entry.units) for action in chosen for entry in action.refused)

    def stayed(self) -> dict[str, tuple[int, ...]]:
        """By action id, units that it names and that are as they were: refused, or kept for the width."""
        kept = {width.site: set(width.kept) for width in self.widths}
        stayed: dict[str, tuple[int, ...]] = {}
        for action in self.actions:
            units = {unit for entry in action.refused for unit in entry.units}
            if action.kind in CUTS:
                units |= kept.get(action.site, set()).intersection(action.done)
            if units:
                stayed[action.id] = tuple(sorted(units))
        return stayed

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "actions": [action.to_dict() for action in self.actions],
            "widths": [width.to_dict() for width in self.widths],
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "bytes": {"before": self.bytes_before, "after": self.bytes_after},
            "multiply_adds": {"before": self.multiply_adds_before, "after": self.multiply_adds_after},
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SurgeryReport:
        """The inverse of `to_dict`."""
        sizes = {
            f"{name}_{when}": plain[name][when]
            for name in ("parameters", "bytes", "multiply_adds")
            for when in ("before", "after")
        }
        return cls(
            actions=tuple(_action(action) for action in plain["actions"]),
            widths=tuple(Width(**{**width, "kept": tuple(width["kept"])}) for width in plain["widths"]),
            notes=tuple(plain["notes"]),
            **sizes,
        )


def _action(plain: Mapping[str, Any]) -> ActionReport:
    refused = (Refused(tuple(entry["units"]), entry["reason"]) for entry in plain["refused"])
    return ActionReport(**{**plain, "done": tuple(plain["done"]), "refused": tuple(refused)})


def refused_together(reasons: Sequence[tuple[int, str]]) -> tuple[Refused, ...]:
    """(unit, reason) gathered by reason, in the order in which reasons first appear."""
    by_reason: dict[str, list[int]] = {}
    for unit, reason in reasons:
        by_reason.setdefault(reason, []).append(unit)
    return tuple(Refused(tuple(sorted(units)), reason) for reason, units in by_reason.items())
