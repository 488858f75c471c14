"""The manifest as Python holds it and as the file says it: strict reading, deterministic writing.

`schemas/manifest-1.schema.json` describes the file. Unit indices are those of the site in the original
checkpoint and never change meaning. A person may strike an action, or a unit from an action's `units`, and
apply the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nla import __version__
from nla.errors import printable
from nla.manifest import reading
from nla.manifest.layout import laid_out
from nla.manifest.parameters import PARAMETERS, PER_UNIT_EVIDENCE, by_unit

SCHEMA = "nla/manifest/1"

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Weight:
    """Where the units of a site lie in one weight tensor of the checkpoint.

    Unit k holds the indices `first + k·stride + step·(0 … count - 1)` along `axis`.
    """

    name: str
    shape: tuple[int, ...] | None
    """Of the tensor in the checkpoint; None where the recording does not say."""
    axis: int
    incoming: bool
    """True for weights and biases that make the unit, False for those that read it."""
    first: int | None = 0
    """None where the recording does not say where along the axis the units begin."""
    stride: int = 1
    count: int = 1
    step: int = 1


@dataclass(frozen=True)
class Action:
    """One intended edit: a kind, a site, and the units that it is done to."""

    id: str
    """Names the action in reports; unique in a manifest."""
    kind: str
    """One of `nla.manifest.parameters.KINDS`."""
    site: str
    units: tuple[int, ...]
    """Indices in the site's own numbering, of the original checkpoint; none twice."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """By kind, see `nla.manifest.parameters.PARAMETERS`; per-unit ones are lists in the order of `units`."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What the recording says of the units: samples, positions, and per unit (lists in the order of `units`)
    state, fired_samples, rate_upper_bound, margin, held_out_fired, mean, min, max, …; None: not known."""
    effect: dict[str, Any] = field(default_factory=dict)
    """What the action is expected to do: units, parameters, bytes and multiply-adds saved; whether outputs
    stay; in words."""
    weights: tuple[Weight, ...] = ()
    """Where the units lie in the checkpoint's weights, as far as the recording knows."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is known per unit is one value where all are equal, else by unit."""
        return {
            "id": self.id,
            "kind": self.kind,
            "site": self.site,
            "units": list(self.units),
            "parameters": _folded(self.parameters, _per_unit_parameters(self.kind), self.units),
            "evidence": _folded(self.evidence, PER_UNIT_EVIDENCE, self.units),
            "effect": self.effect,
            "weights": [_weight(weight) for weight in self.weights],
        }


@dataclass(frozen=True)
class Declined:
    """Units that a policy would have acted on and did not, and why."""

    kind: str
    site: str
    units: tuple[int, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, "site": self.site, "units": list(self.units), "reason": self.reason}


@dataclass(frozen=True)
class Manifest:
    """Actions on one checkpoint, with what they rest on."""

    checkpoint: dict[str, Any]
    """path (the file's name only), digest, bytes; constants (by input, as text) and constant_arrays (digests)."""
    recording: dict[str, Any] = field(default_factory=dict)
    """digest; empty where the manifest was planned without a file."""
    data: dict[str, Any] = field(default_factory=dict)
    """digest, samples, held_out_samples, synthetic; shapes of inputs whose sizes the model leaves free."""
    criteria: dict[str, Any] = field(default_factory=dict)
    """As `Criteria.describe` has them."""
    policy: dict[str, Any] = field(default_factory=dict)
    """name, and the options that differ from their defaults."""
    actions: tuple[Action, ...] = ()
    declined: tuple[Declined, ...] = ()
    notes: tuple[str, ...] = ()
    worth: dict[str, Any] = field(default_factory=dict)
    """What the evidence is worth, in words and numbers, see `nla.manifest.worth`."""
    effect: dict[str, Any] = field(default_factory=dict)
    """What all actions together save; shared weights are counted once."""
    nla: str = __version__
    """The version of nla that wrote the manifest."""

    @property
    def constants(self) -> dict[str, Any]:
        """Values of inputs that are no data, with which the sites were found; arrays are not among them."""
        return {name: _constant(text) for name, text in self.checkpoint.get("constants", {}).items()}

    @property
    def shapes(self) -> dict[str, Sequence[int | None]]:
        """By input that leaves a size free, the sizes that every sample had; None: the samples, or what varies."""
        return dict(self.data.get("shapes", {}))

    def units(self, *kinds: str) -> int:
        """Units of all actions of these kinds, of every kind where none is named."""
        return sum(len(action.units) for action in self.actions if not kinds or action.kind in kinds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in the order of the document."""
        return {
            "schema": SCHEMA,
            "nla": self.nla,
            "checkpoint": self.checkpoint,
            "recording": self.recording,
            "data": self.data,
            "policy": self.policy,
            "worth": self.worth,
            "effect": self.effect,
            "actions": [action.to_dict() for action in self.actions],
            "declined": [entry.to_dict() for entry in self.declined],
            "notes": list(self.notes),
            "criteria": self.criteria,
        }

    def dumps(self) -> str:
        """The manifest as JSON, an action in a few lines: the same manifest gives the same bytes.

        Raises:
            ValueError: a number that is not finite.
        """
        return laid_out(self.to_dict())

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], where: str = "manifest") -> Manifest:
        """The inverse of `to_dict`; of a manifest written by hand or by others only `schema`,
        `checkpoint.digest` and `actions` (each: kind, site, units and its parameters) are needed.

        Raises:
            UsageError: anything that is not as the schema has it; one line that begins with `where`.
        """
        whole = reading.check(plain, where)
        return cls(
            **{name: dict(whole.get(name, {})) for name in reading.TABLES},
            actions=tuple(_action(entry) for entry in whole["actions"]),
            declined=tuple(
                Declined(**{**entry, "units": tuple(entry["units"])}) for entry in whole.get("declined", ())
            ),
            notes=tuple(whole.get("notes", ())),
            nla=whole.get("nla", ""),
        )


def read(path: StrPath) -> Manifest:
    """The manifest in a file.

    Raises:
        UsageError: no such file, not JSON, not a manifest, or of a version that is not known.
    """
    return Manifest.from_dict(reading.load(Path(path)), printable(path))


def loads(text: str | bytes, where: str = "manifest") -> Manifest:
    """The manifest that `Manifest.dumps` wrote; raises UsageError as `read` does."""
    return Manifest.from_dict(reading.parse(text, where), where)


def _per_unit_parameters(kind: str) -> list[str]:
    return [name for name, parameter in PARAMETERS.get(kind, {}).items() if parameter.per_unit]


def _folded(values: Mapping[str, Any], names: Sequence[str], units: Sequence[int]) -> dict[str, Any]:
    return {name: by_unit(value, units) if name in names else value for name, value in values.items()}


def _constant(text: str) -> Any:
    """A list of numbers, or the text, which the input's type makes a value of."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except (ValueError, RecursionError):
        return text


def _weight(weight: Weight) -> dict[str, Any]:
    """Without what is as usual."""
    plain = {name: getattr(weight, name) for name in Weight.__dataclass_fields__}
    plain["shape"] = None if weight.shape is None else list(weight.shape)
    usual = {"first": 0, "stride": 1, "count": 1, "step": 1}
    return {name: value for name, value in plain.items() if name not in usual or usual[name] != value}


def _action(entry: Mapping[str, Any]) -> Action:
    weights = (
        Weight(**{**weight, "shape": None if weight.get("shape") is None else tuple(weight["shape"])})
        for weight in entry["weights"]
    )
    return Action(**{**entry, "units": tuple(entry["units"]), "weights": tuple(weights)})
