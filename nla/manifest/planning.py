"""From an inspection to a manifest: what the policies propose, what may go, what it saves and what it is worth.

Pure, and the same for the same inspection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.lifecycle.plain import plain
from nla.lifecycle.results import Inspection, SiteResult, path_of
from nla.manifest import coupling, effects, policies
from nla.manifest.document import Action, Declined, Manifest
from nla.manifest.parameters import CUTS, PARAMETERS, PER_UNIT_EVIDENCE, is_index
from nla.manifest.policies.base import Options, Policy, Proposal, Refusal, Units
from nla.manifest.selection import Selection
from nla.manifest.weights import shared, weights
from nla.manifest.worth import worth

Bools = NDArray[np.bool_]
_STILL = ("dead", "constant")
_KNOWN_OF_CHECKPOINTS = ("bytes", "parameters", "constants", "constant_arrays", "layers", "activation")


def plan(
    inspection: Inspection,
    policy: str | Sequence[str],
    selection: Selection | None = None,
    options: Options | None = None,
    *,
    recording_digest: str | None = None,
) -> Manifest:
    """The manifest of a policy, or of several.

    Args:
        inspection: of the checkpoint as it is.
        policy: names of `policies.NAMES`, as a list or with commas between.
        selection: which units the policies may act on; all in the states that each is for where None.
        options: what the policies are told.
        recording_digest: sha256 of the recording's file, where there is one.

    Raises:
        UsageError: an unknown policy, site, state or requirement, or a number out of its range.
    """
    chosen = policies.named(policy)
    selection, options = selection or Selection(), options or Options()
    selection.check(inspection)
    _check(options, chosen, selection)
    proposals, refusals = _proposed(inspection, chosen, selection, options)
    proposals, kept = _cuttable(inspection, proposals)
    cut = _masks(inspection, [p for p in proposals if p.kind in CUTS])
    saved = effects.saved(inspection, cut)
    common = shared(result.site for result in inspection.sites)
    actions = tuple(
        _action(f"a{number}", proposal, saved, common, inspection.certificates)
        for number, proposal in enumerate(_ordered(inspection, proposals), 1)
    )
    return Manifest(
        checkpoint=_checkpoint(inspection),
        recording={} if recording_digest is None else {"digest": recording_digest},
        data=_data(inspection),
        criteria=inspection.criteria.describe(),
        policy={
            "name": policy if isinstance(policy, str) else ",".join(policy),
            "options": _given(selection, options),
        },
        actions=actions,
        declined=_declined(inspection, [*refusals, *kept]),
        notes=(
            *_notes(inspection, chosen, actions),
            *_one_width(inspection, cut),
            *_emptied(cut),
        ),
        worth=worth(inspection, _resting_on_silence(inspection, proposals)),
        effect=effects.total(saved),
    )


def _check(options: Options, chosen: Sequence[Policy], selection: Selection) -> None:
    for name, value in (("fraction", options.fraction), ("target_rate", options.target_rate)):
        if value is not None and not (math.isfinite(value) and 0 < value <= 1):
            raise UsageError(f"{name} is {value}, expected a share in (0, 1]")
    seed = PARAMETERS["reset"]["seed"]
    if not is_index(options.seed) or not seed.check(options.seed):
        raise UsageError(f"seed is {options.seed}, expected {seed.expected}")
    for policy in chosen:
        if policy.name == "swap":
            policies.swap.activation_name(options.to)
        if policy.alone and (selection.state or selection.require):
            raise UsageError(f"{policy.name} is for whole layers: it cannot be narrowed by state or evidence")
    if options.to is not None and all(policy.name != "swap" for policy in chosen):
        raise UsageError("an activation to swap to is given, and the policy is not swap")


def _proposed(
    inspection: Inspection, chosen: Sequence[Policy], selection: Selection, options: Options
) -> tuple[list[Proposal], list[Refusal]]:
    """What each policy proposes, in their order; a unit that one has taken is not offered to the next."""
    proposals: list[Proposal] = []
    refusals: list[Refusal] = []
    taken = {result.name: np.zeros(result.site.neurons, bool) for result in inspection.sites}
    alpha = inspection.criteria.confidence_alpha
    for policy in chosen:
        for result in filter(selection.names, inspection.sites):
            free = selection.in_state(result, policy.states) & ~taken[result.name]
            if policy.by_evidence:
                for holds_back, reason in selection.held_back(result, alpha):
                    if (free & holds_back).any():
                        units = np.flatnonzero(free & holds_back)
                        refusals.append(Refusal(policy.name, result, units, reason))
                    free &= ~holds_back
            if not free.any() and not policy.alone:
                continue
            for answer in policy.propose(result, np.flatnonzero(free), inspection, options):
                if isinstance(answer, Proposal):
                    proposals.append(answer)
                    taken[result.name][answer.units] = True
                else:
                    refusals.append(answer)
    return proposals, refusals


def _cuttable(inspection: Inspection, proposals: Sequence[Proposal]) -> tuple[list[Proposal], list[Refusal]]:
    """The proposals without the units whose channels cannot leave the graph, and these."""
    wanted = _masks(inspection, [p for p in proposals if p.kind in CUTS])
    merged = _masks(inspection, [p for p in proposals if p.kind == "merge"])
    stay = coupling.uncuttable(inspection, wanted, merged)
    refusals: list[Refusal] = []
    left: list[Proposal] = []
    for proposal in proposals:
        held = np.zeros(len(proposal.units), bool)
        for kept in stay:
            if proposal.kind in CUTS and kept.result.name == proposal.result.name:
                mine = np.isin(proposal.units, kept.units)
                held |= mine
                if mine.any():
                    units = proposal.units[mine]
                    refusals.append(Refusal(proposal.kind, proposal.result, units, kept.reason))
        if not held.all():
            left.append(_narrowed(proposal, ~held))
    return left, refusals


def _narrowed(proposal: Proposal, keep: Bools) -> Proposal:
    per_unit = {name for name, parameter in PARAMETERS[proposal.kind].items() if parameter.per_unit}
    parameters = {
        name: value[keep] if name in per_unit else value for name, value in proposal.parameters.items()
    }
    return replace(proposal, units=proposal.units[keep], parameters=parameters)


def _masks(inspection: Inspection, proposals: Sequence[Proposal]) -> dict[str, Bools]:
    """By site, bool [neurons], True for the units of these proposals; sites without any are left out."""
    masks: dict[str, Bools] = {}
    for proposal in proposals:
        mask = masks.setdefault(proposal.result.name, np.zeros(proposal.result.site.neurons, bool))
        mask[proposal.units] = True
    return {result.name: masks[result.name] for result in inspection.sites if result.name in masks}


def _resting_on_silence(inspection: Inspection, proposals: Sequence[Proposal]) -> dict[str, Bools]:
    """By site, the units that are cut, masked or started anew because they did not move."""
    resting = [
        p for p in proposals if p.kind in ("remove", "fold", "mask") or (p.exact and p.kind != "merge")
    ]
    masks = _masks(inspection, resting)
    still = {result.name: np.isin(result.states, _STILL) for result in inspection.sites}
    return {name: mask & still[name] for name, mask in masks.items()}


def _ordered(inspection: Inspection, proposals: Sequence[Proposal]) -> list[Proposal]:
    """By site in graph order, then as the policies came."""
    place = {result.name: k for k, result in enumerate(inspection.sites)}
    return sorted(proposals, key=lambda proposal: place[proposal.result.name])


def _action(
    name: str,
    proposal: Proposal,
    saved: Mapping[str, Mapping[str, int]],
    common: frozenset[str],
    about: Mapping[str, Any],
) -> Action:
    result, units = proposal.result, proposal.units
    effect: dict[str, Any] = {"units": len(units)}
    domain = {"certificates": dict(about)} if about else {}
    if proposal.kind in CUTS:
        effect = effects.share(saved[result.name], len(units))
    return Action(
        id=name,
        kind=proposal.kind,
        site=result.name,
        units=tuple(units.tolist()),
        parameters={key: plain(value) for key, value in proposal.parameters.items()},
        evidence=_evidence(result, units) | domain | proposal.facts,
        effect={**effect, "exact": proposal.exact, "expect": proposal.expect},
        weights=weights(result.site, common),
    )


def _evidence(result: SiteResult, units: Units) -> dict[str, Any]:
    """What the recording says of the units; None for a number that is not known."""
    m = result.measurements
    known: dict[str, Any] = {"neurons": result.site.neurons, "samples": m.samples, "positions": m.positions}
    known["state"] = result.states
    known |= {name: result.columns.get(name) for name in PER_UNIT_EVIDENCE if name != "state"}
    if result.held_out is not None:
        known["held_out_samples"] = result.held_out.samples
    return {
        name: plain(value[units] if name in PER_UNIT_EVIDENCE else value)
        for name, value in known.items()
        if value is not None
    }


def _declined(inspection: Inspection, refusals: Sequence[Refusal]) -> tuple[Declined, ...]:
    """By site in graph order; units of one site, kind and reason together."""
    joined: dict[tuple[str, str, str], set[int]] = {}
    for refusal in refusals:
        key = (refusal.result.name, refusal.kind, refusal.reason)
        joined.setdefault(key, set()).update(refusal.units.tolist())
    place = {result.name: k for k, result in enumerate(inspection.sites)}
    ordered = sorted(joined.items(), key=lambda entry: place[entry[0][0]])
    return tuple(
        Declined(kind, site, tuple(sorted(units)), reason) for (site, kind, reason), units in ordered
    )


def _checkpoint(inspection: Inspection) -> dict[str, Any]:
    """The file's name without its folder: the same model elsewhere gives the same manifest."""
    path = path_of(inspection.checkpoint)
    name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
    facts = {"path": name, "digest": inspection.checkpoint["digest"]}
    return facts | {
        key: inspection.checkpoint[key] for key in _KNOWN_OF_CHECKPOINTS if inspection.checkpoint.get(key)
    }


def _data(inspection: Inspection) -> dict[str, Any]:
    names = ("digest", "samples", "held_out_samples", "synthetic")
    known = {name: inspection.data[name] for name in names if inspection.data.get(name)}
    shapes = inspection.data.get("shapes")  # a list where shards differ
    return known | ({"shapes": shapes} if isinstance(shapes, dict) else {})


def _given(selection: Selection, options: Options) -> dict[str, Any]:
    """What was asked for beyond the policy's name."""
    usual = asdict(Options())
    told = {name: value for name, value in asdict(options).items() if value != usual[name]}
    return {**selection.to_dict(), **told}


def _notes(inspection: Inspection, chosen: Sequence[Policy], actions: Sequence[Action]) -> list[str]:
    notes = []
    exact = any(action.kind in CUTS or action.kind == "mask" for action in actions)
    if exact and any(policy.rewires for policy in chosen):
        notes.append(
            "repairs change what later layers see, so that cuts beside them rest on evidence of another network: "
            "better apply one, inspect again, and plan the other"
        )
    if any(policy.name == "flip" for policy in chosen) and not actions:
        notes.append("no layer kills more than half of the samples still alive: there is nothing to flip")
    elif any(action.kind == "flip" for action in actions):
        notes.append(
            "only the first such layer is planned: later ones see other inputs once it is flipped. Apply, inspect "
            "and plan again; nla repair --policy flip does so"
        )
    if inspection.checkpoint.get("constants") or inspection.checkpoint.get("constant_arrays"):
        notes.append("inputs were set to constants: nothing here is known of other values of theirs")
    if inspection.data.get("synthetic"):
        notes.append("the data were random numbers: nothing here is true of real inputs")
    return notes


def _one_width(inspection: Inspection, cut: Mapping[str, Bools]) -> list[str]:
    """What a safetensors checkpoint, whose layout has one width for the MLPs of all blocks, leaves of the cuts."""
    about = inspection.checkpoint
    if about.get("format") != "safetensors" or about.get("architecture") in ("graph", "layers"):
        return []
    names = [result.name for result in inspection.sites if result.site.role == "mlp_post"]
    counts = [int(cut[name].sum()) if name in cut else 0 for name in names]
    if not any(counts):
        return []
    fewest = min(counts)
    return [
        "in the safetensors layout all blocks share one MLP width, so that every block loses as many units as the one "
        f"with the fewest, at most {fewest:,} here; nla apply -o model.onnx gives each block a width of its own"
    ]


def _emptied(cut: Mapping[str, Bools]) -> list[str]:
    """Sites of which every unit would go."""
    return [
        f"every unit of {printable(name, 80)} is to go: no layer goes to width zero, so that one of them stays"
        for name, mask in cut.items()
        if mask.all()
    ]
