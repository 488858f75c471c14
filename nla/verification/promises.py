"""What each action promised against what happened: one judgement a kind of action."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import SiteResult
from nla.manifest.document import Action, Manifest
from nla.verification.results import Promise, SplitComparison
from nla.verification.states import Units

EXACT = ("remove", "fold", "merge", "mask")
"""Kinds that always leave every output as it was."""
_FIRING_SHARE = 0.9
"""Of the units that `shift` or `reset` was to wake, so many fire at least: others that were woken below them may
push a unit back."""


@dataclass(frozen=True)
class Seen:
    """What a verification measured."""

    units: Units
    splits: Mapping[str, SplitComparison]
    stayed: Mapping[str, Collection[int]]
    """By action id, units that the surgery left as they were."""


def judge(manifest: Manifest | None, seen: Seen) -> tuple[Promise, ...]:
    """The promises of a manifest's actions, in their order; without a manifest, that no output changes."""
    if manifest is None:
        return (_same_outputs(seen, Action("", "edit", "", ())),)
    inexact = any(not exact(action) for action in manifest.actions)
    promises = []
    for action in manifest.actions:
        done = _carried_out(action, seen.stayed.get(action.id, ()))
        if not done.units:
            promises.append(_promise(done, "nothing", "no unit was edited", True))
            continue
        if exact(done):
            promises.append(_exact(seen, done, inexact))
        if done.kind in _JUDGES:
            promises.append(_JUDGES[done.kind](seen, done))
    return tuple(promises) or (_same_outputs(seen, Action("", "edit", "", ())),)


def exact(action: Action) -> bool:
    """Whether no output changes, on the data that the manifest cites: by kind, or because the manifest says so."""
    return action.kind in EXACT or action.effect.get("exact") is True


def _carried_out(action: Action, stayed: Collection[int]) -> Action:
    """The action without the units that stayed. Its parameters, which count units, are not read here."""
    left = tuple(unit for unit in action.units if unit not in stayed)
    return replace(action, units=left)


def _promise(action: Action, promised: str, happened: str, kept: bool | None, **measured: Any) -> Promise:
    return Promise(action.id, action.kind, action.site, len(action.units), promised, happened, kept, measured)


def _exact(seen: Seen, action: Action, inexact: bool) -> Promise:
    """Outputs stay. Beside repairs, which change them on purpose, nobody can tell whose the difference is."""
    unchanged = _same_outputs(seen, action)
    if inexact and not unchanged.kept:
        return _promise(
            action,
            unchanged.promised,
            f"{unchanged.happened}; the manifest's repairs change outputs too",
            None,
            **unchanged.measured,
        )
    if action.kind == "mask" and unchanged.kept:
        awake = _awake(seen, action)
        if awake:
            return _promise(action, "outputs unchanged, units silent", f"{awake} units fire", False)
    return unchanged


def _awake(seen: Seen, action: Action) -> int:
    """Masked units that are not silent."""
    fires = _firing(seen, action, "after")
    return 0 if fires is None else int(fires.sum())


def _same_outputs(seen: Seen, action: Action) -> Promise:
    split = seen.splits["calibration"]
    worst = max(split.outputs, key=lambda o: o.largest_absolute / max(1.0, o.largest_value), default=None)
    largest = 0.0 if worst is None else worst.largest_absolute
    happened = "the same bits" if largest == 0 else f"largest difference {largest:.2g}"
    measured: dict[str, Any] = {"largest_absolute": largest}
    held = seen.splits.get("held_out")
    if held is not None:
        moved = max((o.largest_absolute for o in held.outputs), default=0.0)
        measured["held_out_largest_absolute"] = moved
        if not held.unchanged:
            happened += f"; {moved:.2g} on held-out data"
    return _promise(action, _unchanged(action), happened, split.unchanged, **measured)


def _unchanged(action: Action) -> str:
    """What an exact action promises: beyond the data too, where silence of all of its units is proved."""
    proofs = action.evidence.get("certificate")
    proved = isinstance(proofs, list) and len(proofs) > 0 and all(each == "certified" for each in proofs)
    about = action.evidence.get("certificates")
    text = about.get("text") if isinstance(about, Mapping) else None
    if not (proved and action.effect.get("exact") is True and isinstance(text, str)):
        return "outputs unchanged"
    return f"outputs unchanged, proved over the domain ({text})"


def _fires(least: float | None) -> Callable[[Seen, Action], Promise]:
    """The judge of an action that is to wake its units: so large a share at least, or more than before."""

    def judge(seen: Seen, action: Action) -> Promise:
        before, after = _firing(seen, action, "before"), _firing(seen, action, "after")
        if before is None or after is None:
            return _promise(action, "its units fire", "the site cannot be matched", None)
        was, now = float(before.mean()), float(after.mean())
        held = _firing(seen, action, "after", held_out=True)
        measured = {"firing_before": was, "firing_after": now}
        happened = f"{int(after.sum())} of {len(after)} fire, {int(before.sum())} did"
        if held is not None:
            measured["firing_held_out"] = float(held.mean())
            happened += f"; on held-out data {int(held.sum())}"
        if least is None:
            return _promise(action, "no fewer of its units fire", happened, now >= was, **measured)
        return _promise(
            action,
            f"at least {least:.0%} of its units fire".replace("%", " %"),
            happened,
            now >= least,
            **measured,
        )

    return judge


def _firing(seen: Seen, action: Action, when: str, held_out: bool = False) -> NDArray[np.bool_] | None:
    """bool [units]: which of the action's units fire on some sample; None where the site cannot be matched."""
    result = seen.units.before(action.site) if when == "before" else seen.units.after(action.site)
    if result is None:
        return None
    places = (
        np.array([unit for unit in action.units if unit < result.site.neurons], np.int64)
        if when == "before"
        else seen.units.places(action.site, action.units)
    )
    measured = result.held_out if held_out else result.measurements
    if places is None or not len(places) or measured is None:
        return None
    fires: NDArray[np.bool_] = measured.fired_samples[places] > 0
    return fires


def _flipped(seen: Seen, action: Action) -> Promise:
    """The k-th flipped layer leaves at least M / 2^k samples alive (trainability paper)."""
    result = seen.units.after(action.site)
    if result is None:
        return _promise(action, "half of the samples alive stay so", "the site cannot be matched", None)
    killed = result.measurements.killed_samples
    alive = _alive_before(seen.units, action.site)
    return _promise(
        action,
        "at most half of the samples alive are killed here",
        f"{killed} of {alive} are",
        2 * killed <= alive,
        killed=killed,
        alive=alive,
    )


def _alive_before(units: Units, site: str) -> int:
    """Samples of the edited model that no site before this one has silenced."""
    alive = 0
    for name in units.sites:
        result = units.after(name)
        if result is None:
            continue
        alive = alive or result.measurements.samples
        if name == site:
            break
        alive -= result.measurements.killed_samples
    return alive


def _swapped(seen: Seen, action: Action) -> Promise:
    """Told, not judged: what another activation does to a trained model is for its owner to weigh."""
    before, after = _dead(seen.units.before(action.site)), _dead(seen.units.after(action.site))
    if before is None or after is None:
        return _promise(action, "another activation", "the site cannot be matched", None)
    return _promise(
        action, "another activation", f"{before} dead before, {after} now", None, before=before, after=after
    )


def _dead(result: SiteResult | None) -> int | None:
    return None if result is None else result.counts["dead"]


_JUDGES: dict[str, Callable[[Seen, Action], Promise]] = {
    "strip": _fires(None),
    "strip-contribution": _fires(None),
    "reset": _fires(_FIRING_SHARE),
    "shift": _fires(_FIRING_SHARE),
    "flip": _flipped,
    "swap": _swapped,
}
