"""The verbs that plan, apply and verify in one, and keep the result only where verification holds: prune, repair."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from nla.certificates.results import Certificates
from nla.checkpoint.atomic import atomic_write, check_output
from nla.checkpoint.staging import makes_folder, staged
from nla.errors import UsageError
from nla.isolation import Limits
from nla.lifecycle.results import STATES, Inspection
from nla.manifest.document import Action, Manifest
from nla.manifest.parameters import CUTS
from nla.manifest.planning import plan as planned
from nla.manifest.policies.base import Options
from nla.manifest.selection import CERTIFICATE, NO_PROOFS, Selection
from nla.outcomes import Outcome, Round
from nla.surgery.carried import carried_out, digest, without
from nla.verbs.certifying import read_certificates, with_given
from nla.verbs.construction import Construction, for_edit
from nla.verbs.editing import Surgery
from nla.verbs.inspecting import replayed
from nla.verbs.parcel import StrPath
from nla.verbs.planning import selected
from nla.verbs.proofs import Proof
from nla.verbs.replaying import ReplayOptions
from nla.verbs.verifying import Applied, Data, verified

STRIPS = ("strip", "strip-contribution")
_MOST_ROUNDS = 1000


def prune(
    model: StrPath,
    data: Data,
    output: StrPath,
    *,
    manifest: StrPath | None = None,
    site: str | Sequence[str] = (),
    state: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    min_margin: float | None = None,
    max_rate_bound: float | None = None,
    certificates: StrPath | None = None,
    certify: bool = False,
    domain: str | None = None,
    box: str | Sequence[str] = (),
    ranges: StrPath | None = None,
    margin: float = 0.0,
    time_budget: float | None = 60.0,
    round_to: int = 1,
    tolerance: float | None = None,
    **options: Unpack[ReplayOptions],
) -> Outcome:
    """The checkpoint without its dead, constant and duplicate neurons at `output`, and proof that nothing changed.

    Inspects, plans, applies and verifies; the result is kept only where every output stays the same on the data.

    Args:
        model: an ONNX file, or a safetensors checkpoint.
        data: calibration data, as `inspect` takes it, and so are the `options`.
        output: where the pruned model goes, as `apply` takes it.
        manifest: where the manifest goes, as it was carried out.
        site: names of sites; all where empty.
        state: states; those that each action is for where empty.
        require: 'held-out': units that the held-out split shows as the calibration split does; 'certificate': units
            that are proved silent for every input of a domain.
        min_margin: standard deviations of z that a unit must be from waking.
        max_rate_bound: largest upper bound on the share of samples on which a unit fires.
        certificates: what `certify` wrote of this checkpoint.
        certify: prove it of the dead here, as `inspect` does; so are the next five.
        domain: of the proof; by default the range of each element over the data.
        box: ranges of inputs.
        ranges: a file of ranges.
        margin: by which what the data cover is widened.
        time_budget: seconds that proofs may take.
        round_to: keep units so that every width that changes is a multiple of this.
        tolerance: as `verify` takes it.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used; the message says why and what to do.
        OutputError: an output cannot be written, or is a source.
    """
    selection = selected(site, state, require, min_margin, max_rate_bound)
    proofs = _Proofs.of(Proof.asked(certify, domain, box, ranges, margin, time_budget), certificates)
    work = _Work(model, data, options, selection, Options(), "prune", proofs, round_to=round_to)
    return work.run(output, manifest, tolerance, 1)


def repair(
    model: StrPath,
    data: Data,
    output: StrPath,
    *,
    policy: str | Sequence[str] = "repair",
    manifest: StrPath | None = None,
    rounds: int = 1,
    site: str | Sequence[str] = (),
    state: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    min_margin: float | None = None,
    max_rate_bound: float | None = None,
    fraction: float | None = None,
    target_rate: float = 0.01,
    zero_outgoing: bool = False,
    certificates: StrPath | None = None,
    certify: bool = False,
    domain: str | None = None,
    box: str | Sequence[str] = (),
    ranges: StrPath | None = None,
    margin: float = 0.0,
    time_budget: float | None = 60.0,
    tolerance: float | None = None,
    **options: Unpack[ReplayOptions],
) -> Outcome:
    """The checkpoint with its neurons woken at `output`, and what that did; weights are changed, nothing is trained.

    Inspects, plans, applies and verifies; the result is kept only where every promise of the actions is kept.
    Several rounds measure again after each: strip goes on with the units that fire more rarely than the target
    rate, flip with the next layer.

    Args:
        model: an ONNX file, or a safetensors checkpoint.
        data: calibration data, as `inspect` takes it, and so are the `options`; `seed` is also that of reset.
        output: where the repaired model goes, as `apply` takes it.
        policy: 'repair' (what suits each state), strip, strip-contribution, reset, shift, flip, or several.
        manifest: where the manifest goes, as it was carried out; that of round k to `<stem>.k.json`.
        rounds: at most so many; fewer where nothing is left to do.
        site: names of sites; all where empty.
        state: states; those that each policy is for where empty.
        require: 'held-out', 'certificate', as `plan` takes it.
        min_margin: likewise.
        max_rate_bound: likewise.
        fraction: of strip and strip-contribution, share of a unit's incoming weights.
        target_rate: share of positions on which a unit is to fire: of shift, and of strip in several rounds.
        zero_outgoing: of shift, whether outgoing weights become zero, so that the output stays.
        certificates: what `certify` wrote of this checkpoint; they say nothing of what a first round makes of it.
        certify: prove it of the dead here, as `inspect` does, in each round; so are the next five.
        domain: of the proof; by default the range of each element over the data.
        box: ranges of inputs.
        ranges: a file of ranges.
        margin: by which what the data cover is widened.
        time_budget: seconds that proofs may take.
        tolerance: as `verify` takes it.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used; the message says why and what to do.
        OutputError: an output cannot be written, or is a source.
    """
    if not isinstance(rounds, int) or not 1 <= rounds <= _MOST_ROUNDS:
        raise UsageError(f"rounds is {rounds}, expected a whole number from 1 to {_MOST_ROUNDS}")
    selection = selected(site, state, require, min_margin, max_rate_bound)
    plan = Options(fraction, target_rate, zero_outgoing, options.get("seed", 0))
    if rounds > 1 and certificates is not None:
        raise UsageError(
            "certificates speak of the model that is given, not of what the first round makes of it: ask for proofs of "
            "each round with certify, or for one round"
        )
    proofs = _Proofs.of(Proof.asked(certify, domain, box, ranges, margin, time_budget), certificates)
    work = _Work(model, data, options, selection, plan, policy, proofs)
    return work.run(output, manifest, tolerance, rounds)


@dataclass(frozen=True)
class _Proofs:
    """Where proofs that neurons are silent come from: made beside the replay, read from a file, or neither."""

    options: Mapping[str, Any]
    """What `inspect` is told."""
    read: Certificates | None
    path: StrPath = ""

    @classmethod
    def of(cls, proof: Proof | None, path: StrPath | None) -> _Proofs:
        """Raises UsageError: both are given, or the file holds no certificates."""
        if proof is not None and path is not None:
            raise UsageError(
                "proofs are asked for with certify, and given as certificates: leave one of them out"
            )
        if path is not None:
            return cls({}, read_certificates(path), path)
        return cls({} if proof is None else {"certify": True, **proof.plain()}, None)

    @property
    def given(self) -> bool:
        """Whether there are any, or will be."""
        return bool(self.options) or self.read is not None

    def beside(self, inspection: Inspection) -> Inspection:
        """The inspection with what the file proves. Raises UsageError: it is of another checkpoint."""
        return inspection if self.read is None else with_given(inspection, self.read, self.path)


@dataclass(frozen=True)
class _Work:
    """What does not change from round to round."""

    model: StrPath
    data: Data
    options: ReplayOptions
    selection: Selection
    plan: Options
    policy: str | Sequence[str]
    proofs: _Proofs
    round_to: int = 1
    targets: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """By kind and site, the units that the first round acted on."""

    def run(self, output: StrPath, manifest: StrPath | None, tolerance: float | None, rounds: int) -> Outcome:
        """All rounds, then the verification of the last model against the first."""
        if CERTIFICATE in self.selection.require and not self.proofs.given:
            raise UsageError(NO_PROOFS)
        if manifest is not None:
            check_output(manifest, sources=[self.model])
        is_folder = makes_folder(self.model, output)
        with (
            staged(output, [self.model], is_folder=is_folder) as made,
            _folder_beside(output) as between,
        ):
            first = self.proofs.beside(replayed(self.model, self.data, **self.options, **self.proofs.options))
            done, at = self._rounds(first, Path(between), made.path.name, rounds)
            applied = Applied(_all_of(done), digest(done[-1].manifest), {})
            seen = verified(self.model, at, self.data, applied, tolerance, self.options, first)
            seen = replace(seen, after={**seen.after, "path": str(output)})
            if not seen.holds:
                return Outcome(tuple(done), seen, None)
            made.take(at)
            made.keep()
        written = []
        for number, each in enumerate(done if manifest is not None else (), 1):
            assert manifest is not None
            written.append(numbered(manifest, number))
            atomic_write(written[-1], each.manifest.dumps().encode(), sources=[self.model])
        return Outcome(tuple(done), seen, Path(output), tuple(written))

    def _rounds(self, before: Inspection, folder: Path, name: str, rounds: int) -> tuple[list[Round], Path]:
        """What each round did, at least one, and the last one's model, alone with its files in a folder."""
        done: list[Round] = []
        at, last = Path(self.model), None
        for number in range(1, rounds + 1):
            step = self._planned(before, number)
            if done and (not step.actions or _moved_nothing(last, step)):
                break
            last = step
            place = folder / str(number) / name
            place.parent.mkdir()
            done.append(self._round(step, at, place, before))
            at = place
            if number < rounds:
                options = for_edit(at, self.model, self.options)
                before = replayed(at, self.data, **options, **self.proofs.options)
        return done, at

    def _round(self, step: Manifest, model: Path, place: Path, before: Inspection) -> Round:
        surgery = Surgery(
            round_to=self.round_to,
            construction=Construction.in_options(for_edit(model, self.model, self.options)),
            limits=Limits(self.options.get("memory_limit"), self.options.get("time_limit")),
            in_process=self.options.get("in_process", False),
            progress=self.options.get("progress"),
        )
        report = surgery.run(step, None, model, place)
        return Round(carried_out(step, report), report, before.summary["dead"])

    def _planned(self, before: Inspection, number: int) -> Manifest:
        """The next round's manifest; strip's later rounds are for units that it began with and that fire too rarely."""
        if number == 1:
            step = planned(before, self.policy, self.selection, self.plan)
            for action in step.actions:
                self.targets.setdefault((action.kind, action.site), set()).update(action.units)
            return step
        strips = {kind for kind, _ in self.targets} <= set(STRIPS)
        selection = replace(self.selection, state=STATES) if strips and self.targets else self.selection
        step = planned(before, self.policy, selection, self.plan)
        if any(action.kind in CUTS for action in step.actions):
            raise UsageError("remove, fold and merge take one round: what is left is counted anew after it")
        if not strips:
            return step
        narrowed = [self._still_too_rare(action, before) for action in step.actions]
        return replace(step, actions=tuple(action for action in narrowed if action.units))

    def _still_too_rare(self, action: Action, before: Inspection) -> Action:
        rate = before[action.site].columns["activation_rate"]
        targets = self.targets.get((action.kind, action.site), set())
        enough = [unit for unit in action.units if unit not in targets or rate[unit] >= self.plan.target_rate]
        return without(action, enough)


def _moved_nothing(last: Manifest | None, step: Manifest) -> bool:
    """Whether the next round would do to the same units what the last one did, which did not move them at all."""
    if last is None or len(last.actions) != len(step.actions):
        return False
    return all(
        (one.kind, one.site, one.units, one.evidence) == (two.kind, two.site, two.units, two.evidence)
        for one, two in zip(last.actions, step.actions, strict=True)
    )


def _folder_beside(output: StrPath) -> tempfile.TemporaryDirectory[str]:
    """For models between rounds: where there is room for the result there is room for them, and a move is a rename."""
    return tempfile.TemporaryDirectory(prefix=".nla-", dir=Path(output).parent)


def _all_of(rounds: Sequence[Round]) -> Manifest:
    """One manifest of what all rounds did, for its promises: a unit that several rounds edited is there once."""
    merged: dict[tuple[str, str], Action] = {}
    for number, each in enumerate(rounds, 1):
        for action in each.manifest.actions:
            earlier = merged.get((action.kind, action.site))
            name = action.id if len(rounds) == 1 else f"{number}.{action.id}"
            units = action.units if earlier is None else tuple(dict.fromkeys(earlier.units + action.units))
            merged[action.kind, action.site] = replace(earlier or action, id=name, units=units)
    return replace(rounds[0].manifest, actions=tuple(merged.values()))


def numbered(path: StrPath, number: int) -> Path:
    """The manifest's path of a round.

    >>> str(numbered("m.json", 1)), str(numbered("m.json", 2))
    ('m.json', 'm.2.json')
    """
    whole = Path(path)
    return whole if number == 1 else whole.with_name(f"{whole.stem}.{number}{whole.suffix}")
