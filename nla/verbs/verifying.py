"""The verb that compares a checkpoint with its edit: verify."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from nla.errors import ModelError, UsageError, printable
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.manifest.document import Manifest
from nla.manifest.parameters import CUTS
from nla.surgery.report import DIGEST, STAYED
from nla.verbs.construction import for_edit, prepared_as
from nla.verbs.editing import opened
from nla.verbs.inspecting import replayed
from nla.verbs.parcel import Array, Parcel, StrPath
from nla.verbs.recordings import as_criteria
from nla.verbs.replaying import ReplayOptions, put_replay
from nla.verification import Latency, Seen, Size, Units, Verification, judge, site_changes
from nla.verification.results import split_from_plain

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection

Data = StrPath | Array | Mapping[str, Array] | None


def verify(
    original: StrPath,
    edited: StrPath,
    data: Data = None,
    *,
    manifest: StrPath | Manifest | None = None,
    tolerance: float | None = None,
    **options: Unpack[ReplayOptions],
) -> Verification:
    """What an edit did: outputs, states, size and speed before and after, and whether every promise was kept.

    Both models are replayed over the same data. Without a manifest the only promise is that no output changes.

    Args:
        original: the checkpoint before the edit, an ONNX file or a safetensors checkpoint.
        edited: the checkpoint after it.
        data: as `inspect` takes it, and so are the `options`; with `held_out` both splits are compared.
        manifest: what was carried out: its promises are judged, and its units accounted for; inputs that it says
            were set to constants are set to these, unless the `options` say otherwise.
        tolerance: how far an output may move, times max(1, its largest absolute value), and still count as
            unchanged; 1e-5 where None, more for models in float16 and bfloat16.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be compared; the message says why.
        LimitError: a file crashed, stalled or exhausted a library underneath.
    """
    given = None if manifest is None else Applied(*opened(manifest))
    constants = {**(given.manifest.constants if given else {}), **(options.get("constants") or {})}
    if constants:
        options = {**options, "constants": constants}
    return verified(original, edited, data, given, tolerance, options)


@dataclass(frozen=True)
class Applied:
    """The manifest that an edited model is said to come from."""

    manifest: Manifest
    digest: str
    stayed: Mapping[str, list[int]] | None = None
    """By action, units that it names and that were not edited; None: the edited model's metadata tell."""


def verified(
    original: StrPath,
    edited: StrPath,
    data: Data,
    applied: Applied | None,
    tolerance: float | None,
    options: ReplayOptions,
    before: Inspection | None = None,
) -> Verification:
    """As `verify`; the original is not inspected again where `before` is its inspection."""
    compared = _compared(original, edited, data, applied, tolerance, options)
    notes = list(compared["notes"])
    inspections = None
    try:
        before = before or replayed(original, data, **for_edit(original, original, options))
        _check_units(applied, before)
        inspections = before, replayed(edited, data, **for_edit(edited, original, options))
    except ModelError as error:  # both models run, so this says why there are no neurons to speak of
        notes.append(f"states were not compared: {error}")
    stayed = _stayed(applied, compared["after"].get("nla") or {}, notes)
    splits = {name: split_from_plain(plain) for name, plain in compared["splits"].items()}
    notes += _other_evidence(applied, compared["data"], splits["calibration"].samples)
    removed = _removed(applied, stayed)
    units = Units(*inspections, removed) if inspections else Units.none()
    notes += _contradicted(units, removed)
    seen = Seen(units, splits, stayed)
    return Verification(
        before=compared["before"],
        after=compared["after"],
        data=compared["data"],
        manifest=None if applied is None else {"digest": applied.digest, "policy": applied.manifest.policy},
        tolerance=compared["tolerance"],
        splits=splits,
        states=site_changes(units),
        promises=judge(None if applied is None else applied.manifest, seen),
        size_before=Size(**compared["size_before"]),
        size_after=Size(**compared["size_after"]),
        latencies=tuple(Latency(**plain) for plain in compared["latencies"]),
        criteria=_criteria(options).describe(),
        notes=tuple(notes),
    )


def _check_units(applied: Applied | None, before: Inspection) -> None:
    """Refuse a manifest that names units which the original has not. Raises UsageError."""
    neurons = {result.name: result.site.neurons for result in before.sites}
    for action in () if applied is None else applied.manifest.actions:
        most = max(action.units, default=-1)
        if most >= neurons.get(action.site, most + 1):
            raise UsageError(
                f"the manifest's action {printable(action.id, 40)} names unit {most} of {printable(action.site, 80)}, "
                f"which has {neurons[action.site]}: give the manifest that was applied, or none"
            )


def _other_evidence(applied: Applied | None, data: Mapping[str, Any], samples: int) -> list[str]:
    """Whether the promises are judged on other samples than the manifest rests on, which promises nothing there."""
    cited = {} if applied is None else applied.manifest.data
    if not cited.get("samples") or (cited.get("digest"), cited["samples"]) == (data.get("digest"), samples):
        return []
    return [
        f"the manifest rests on {cited['samples']:,} samples, and its promises are judged here on {samples:,} that are "
        "not all the same: a cut unit may fire on the others"
    ]


def _compared(
    original: StrPath,
    edited: StrPath,
    data: Data,
    applied: Applied | None,
    tolerance: float | None,
    options: ReplayOptions,
) -> dict[str, Any]:
    parcel = Parcel()
    size = options.get("batch_size", "auto")
    parcel.arguments.update(
        model=os.fspath(original),
        edited=os.fspath(edited),
        tolerance=tolerance,
        largest_batch=size if isinstance(size, int) else None,
        made_for=applied
        and {"checkpoint": applied.manifest.checkpoint["digest"], "manifest": applied.digest},
    )
    parcel.put_data(data)
    put_replay(parcel, {**options, "processor": prepared_as(original, options)})
    limits = Limits(options.get("memory_limit"), options.get("time_limit"))
    plain, _ = parcel.run(
        "nla.replay.comparing:compare",
        limits,
        options.get("progress"),
        options.get("in_process", False),
        options.get("verbose", False),
    )
    return plain


def _criteria(options: ReplayOptions) -> Criteria:
    return as_criteria(options.get("criteria"))


def _stayed(
    applied: Applied | None, metadata: Mapping[str, str], notes: list[str]
) -> Mapping[str, list[int]]:
    """By action, the units that `apply` says it left alone, in the edited model's own metadata."""
    if applied is None:
        return {}
    if applied.stayed is not None:
        return applied.stayed
    if DIGEST not in metadata:
        if applied.manifest.actions:
            notes.append("the edited model does not name the manifest that it was made by")
        return {}
    if metadata[DIGEST] != applied.digest:
        raise UsageError(
            f"the edited model was made by the manifest {printable(metadata[DIGEST])[:16]}…, and this one is "
            f"{applied.digest[:16]}…: give the one that was applied, or none"
        )
    stayed = _read_stayed(metadata.get(STAYED, "{}"), applied.manifest)
    if stayed:
        count = sum(map(len, stayed.values()))
        notes.append(
            f"which units of the manifest stayed ({count:,}) is what the edited model says of itself"
        )
    return stayed


def _contradicted(units: Units, removed: Mapping[str, Collection[int]]) -> list[str]:
    """Sites of which another number of units left than the manifest and the edited model's metadata say."""
    notes = []
    for site, gone in removed.items():
        before, after = units.before(site), units.after(site)
        if before is None or after is None or before.site.neurons - len(gone) == after.site.neurons:
            continue
        notes.append(
            f"{printable(site, 80)}: {len(gone)} of its {before.site.neurons} units left, as the manifest and the "
            f"edited model say, and it has {after.site.neurons} afterwards: which of them is which is not known"
        )
    return notes


def _read_stayed(text: str, manifest: Manifest) -> dict[str, list[int]]:
    """By action of the manifest, units of its own. Written by nla, but it has been in a stranger's hands."""
    named = {action.id: frozenset(action.units) for action in manifest.actions}
    try:
        found = json.loads(text)
        well_formed = all(isinstance(u, list) and all(type(k) is int for k in u) for u in found.values())
        well_formed = well_formed and all(named[name].issuperset(units) for name, units in found.items())
    except (ValueError, AttributeError, RecursionError, KeyError):
        well_formed = False
    if not well_formed:
        raise ModelError(
            "the edited model's metadata do not say which units stayed; verify without a manifest"
        )
    return dict(found)


def _removed(applied: Applied | None, stayed: Mapping[str, list[int]]) -> dict[str, set[int]]:
    """By site, the units that surgery took out."""
    removed: dict[str, set[int]] = {}
    for action in () if applied is None else applied.manifest.actions:
        if action.kind in CUTS:
            gone = set(action.units) - set(stayed.get(action.id, ()))
            removed.setdefault(action.site, set()).update(gone)
    return removed
