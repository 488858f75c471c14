"""What sets a finding off: one function for each rule of the diagnosis, from an inspection to the numbers,
or None."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nla.lifecycle.results import Inspection, SiteResult

_MOST_NAMED = 3
_FEWEST_FOR_TREND = 4
_FEWEST_FOR_RANK = 16
"""Live neurons below which a low rank is a matter of course."""


@dataclass(frozen=True)
class Trigger:
    """The numbers that set a rule off."""

    sites: tuple[str, ...]
    evidence: str
    severity: float
    """In [0, 1]."""


def network_dead(inspection: Inspection) -> Trigger | None:
    """A layer on every path is silent for every sample."""
    silent = [r for r in inspection.sites if r.site.bottleneck and _silent_share(r) == 1]
    if not silent:
        return None
    counts = [f"all {r.site.neurons} neurons of {r.name} are silent" for r in silent]
    return Trigger(_names(silent), f"{_list(counts)} on all {silent[0].measurements.samples} samples", 1.0)


def killed_samples(inspection: Inspection) -> Trigger | None:
    """Some samples, not all, are silenced by a layer on every path."""
    killing = [r for r in inspection.sites if r.site.bottleneck and 0 < _silent_share(r) < 1]
    if not killing:
        return None
    worst = max(killing, key=_silent_share)
    counts = [
        f"{r.measurements.silent_samples} of {r.measurements.samples} samples at {r.name}" for r in killing
    ]
    return Trigger(_names(killing), f"silenced: {_list(counts)}", 0.5 + 0.4 * _silent_share(worst))


def nonfinite(inspection: Inspection) -> Trigger | None:
    """Activations that are NaN or infinite."""
    met = [r for r in inspection.sites if r.measurements.nonfinite.any()]
    values = {r.name: r.measurements.nonfinite for r in met}
    counts = [
        f"{int(n.sum())} values of {int((n > 0).sum())} neurons at {name}" for name, n in values.items()
    ]
    return Trigger(_names(met), f"NaN or infinite: {_list(counts)}", 0.9) if met else None


def dying_relu(inspection: Inspection) -> Trigger | None:
    """Many dead neurons whose φ is zero on a half-line: a ReLU and its kin."""
    return _many_dead(inspection, [r for r in inspection.sites if r.site.activation.reaches_zero])


def silent_elsewhere(inspection: Inspection) -> Trigger | None:
    """Many dead neurons where no ReLU is the cause: gated products, heads, GELU, recurrent units."""
    return _many_dead(inspection, [r for r in inspection.sites if not r.site.activation.reaches_zero])


def _many_dead(inspection: Inspection, results: Sequence[SiteResult]) -> Trigger | None:
    level = inspection.criteria.high_dead_share
    high = [r for r in results if r.dead_share >= level and r.counts["dead"]]
    if not high:
        return None
    dead, neurons = sum(r.counts["dead"] for r in high), sum(r.site.neurons for r in high)
    held = sum(r.parameters_dead for r in high)
    evidence = f"{_shares(high, 'dead')}; these {dead:,} dead neurons hold {held:,} parameters"
    return Trigger(_names(high), evidence, 0.4 + 0.5 * dead / neurons)


def dead_in_first_layer(inspection: Inspection) -> Trigger | None:
    """Many dead neurons in the first layer, whose inputs are the data themselves."""
    layers = [r for r in inspection.sites[:1] if r.site.role in ("dense", "conv")]
    first = layers[0] if layers else None
    if first is None or first.dead_share < inspection.criteria.high_dead_share or not first.counts["dead"]:
        return None
    return Trigger((first.name,), _shares([first], "dead"), 0.35 + 0.4 * first.dead_share)


def death_rises_with_depth(inspection: Inspection) -> Trigger | None:
    """The dead share of the last third of the layers is well above that of the first third."""
    results = [r for r in inspection.sites if r.site.activation.reaches_zero]
    if len(results) < _FEWEST_FOR_TREND:
        return None
    third = len(results) // 3
    early, late = _mean_share(results[:third]), _mean_share(results[-third:])
    if late - early < inspection.criteria.high_dead_share:
        return None
    evidence = (
        f"dead share {_percent(early)} in the first third of {len(results)} layers, "
        f"{_percent(late)} in the last"
    )
    return Trigger(_names(results[-third:]), evidence, 0.3 + 0.4 * (late - early))


def saturated(inspection: Inspection) -> Trigger | None:
    """Many saturated neurons."""
    return _many(inspection, "saturated", inspection.criteria.high_saturated_share)


def dormant(inspection: Inspection) -> Trigger | None:
    """Many dormant neurons."""
    return _many(inspection, "dormant", inspection.criteria.high_dormant_share)


def constant(inspection: Inspection) -> Trigger | None:
    """Any constant neuron: each can be folded away."""
    results = [r for r in inspection.sites if r.counts["constant"]]
    return Trigger(_names(results), _shares(results, "constant"), 0.25) if results else None


def thin_representation(inspection: Inspection) -> Trigger | None:
    """An effective rank that is small beside the number of live neurons."""
    thin = [r for r in inspection.sites if _rank_share(r) < inspection.criteria.low_rank_share]
    counts = [
        f"{r.effective_rank:.1f} of {_live(r)} live neurons at {r.name}"
        for r in sorted(thin, key=_rank_share)
    ]
    return Trigger(_names(thin), f"effective rank {_list(counts)}", 0.3) if thin else None


def linear(inspection: Inspection) -> Trigger | None:
    """Many rectifiers that are never off."""
    level = inspection.criteria.high_linear_share
    met = [(r, _flagged(r, "linear")) for r in inspection.sites]
    many = [(r, n) for r, n in met if n and n >= level * r.site.neurons]
    counts = [f"{n} of {r.site.neurons} at {r.name}" for r, n in many]
    return Trigger(_names(r for r, _ in many), f"never off: {_list(counts)}", 0.2) if many else None


def starved(inspection: Inspection) -> Trigger | None:
    """Neurons all of whose inputs are dead or constant."""
    met = [(r, _flagged(r, "starved")) for r in inspection.sites]
    counts = [f"{n} of {r.site.neurons} at {r.name}" for r, n in met if n]
    return Trigger(_names(r for r, n in met if n), f"starved: {_list(counts)}", 0.6) if counts else None


def held_out_wakes(inspection: Inspection) -> Trigger | None:
    """Neurons that are dead on the calibration split and fire on the held-out one."""
    woken = {r.name: _woken(r) for r in inspection.sites}
    met = [r for r in inspection.sites if woken[r.name]]
    if not met or met[0].held_out is None:
        return None
    dead, wake = inspection.summary["dead"], sum(woken.values())
    counts = [f"{woken[r.name]} of {r.counts['dead']} at {r.name}" for r in met]
    evidence = f"{wake} of {dead} dead fire on {met[0].held_out.samples} held-out samples: {_list(counts)}"
    return Trigger(_names(met), evidence, 0.45 + 0.4 * wake / dead)


def weak_evidence(inspection: Inspection) -> Trigger | None:
    """Too few samples for what is said of the dead."""
    weak = [r for r in inspection.sites if r.joint_rate_upper_bound > inspection.criteria.weak_bound]
    if not weak:
        return None
    worst = max(weak, key=lambda r: r.joint_rate_upper_bound)
    confidence, limit = _percent(1 - inspection.criteria.confidence_alpha), inspection.criteria.weak_bound
    evidence = (
        f"{worst.measurements.samples} samples: with {confidence} confidence the dead of {worst.name} may "
        f"still fire on up to {_percent(worst.joint_rate_upper_bound)} of samples; "
        f"{_samples_for(inspection, worst)} samples would bring that to {_percent(limit)}"
    )
    return Trigger(_names(weak), evidence, 0.4)


def near_dead(inspection: Inspection) -> Trigger | None:
    """Dead neurons that nearly wake, and living ones that nearly died."""
    met = [r for r in inspection.sites if _flagged(r, "near_dead")]
    if not met:
        return None
    near = {r.name: _near(r) for r in met}
    waking, dying = (sum(counts) for counts in zip(*near.values(), strict=True))
    limit = inspection.criteria.near_dead_margin
    evidence = (
        f"within {limit:g} sd of z = 0: {waking} dead that nearly wake, {dying} living that nearly died"
    )
    return Trigger(_names(met), evidence, 0.15 + 0.2 * waking / max(1, inspection.summary["dead"]))


def healthy(inspection: Inspection) -> Trigger:
    """For want of any other: the totals."""
    totals = inspection.summary
    counts = ", ".join(f"{totals[state]} {state}" for state in ("dead", "constant", "saturated", "dormant"))
    return Trigger((), f"{counts} of {totals['neurons']} neurons", 0.0)


def _many(inspection: Inspection, state: str, level: float) -> Trigger | None:
    """The sites of which at least a share of `level` is in that state."""
    results = [r for r in inspection.sites if r.counts[state] and r.counts[state] >= level * r.site.neurons]
    if not results:
        return None
    share = sum(r.counts[state] for r in results) / sum(r.site.neurons for r in results)
    return Trigger(_names(results), _shares(results, state), 0.25 + 0.35 * share)


def _shares(results: Sequence[SiteResult], state: str) -> str:
    worst = sorted(results, key=lambda r: -r.counts[state] / r.site.neurons)
    return f"{state}: " + _list([f"{r.counts[state]} of {r.site.neurons} at {r.name}" for r in worst])


def _list(parts: Sequence[str]) -> str:
    more = len(parts) - _MOST_NAMED
    named = ", ".join(parts[:_MOST_NAMED])
    return f"{named} and {more} more {'site' if more == 1 else 'sites'}" if more > 0 else named


def _names(results: Iterable[SiteResult]) -> tuple[str, ...]:
    return tuple(r.name for r in results)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _silent_share(result: SiteResult) -> float:
    m = result.measurements
    return m.silent_samples / m.samples if m.samples else 0.0


def _mean_share(results: Sequence[SiteResult]) -> float:
    return sum(r.dead_share for r in results) / len(results)


def _live(result: SiteResult) -> int:
    return result.site.neurons - result.counts["dead"] - result.counts["constant"]


def _rank_share(result: SiteResult) -> float:
    """Effective rank over live neurons; inf where it says nothing: few neurons, or fewer rows than twice
    them."""
    live = _live(result)
    if live < _FEWEST_FOR_RANK or result.measurements.effective_rank_rows < 2 * live:
        return math.inf
    return result.effective_rank / live


def _flagged(result: SiteResult, flag: str) -> int:
    return sum(flag in flags for flags in result.flags)


def _woken(result: SiteResult) -> int:
    """Dead neurons that fired on the held-out split."""
    fired = result.columns.get("held_out_fired")
    return 0 if fired is None else int(((result.states == "dead") & (fired > 0)).sum())


def _near(result: SiteResult) -> tuple[int, int]:
    """near_dead neurons that are dead, and those that live."""
    near = np.array(["near_dead" in flags for flags in result.flags], bool)
    dead = result.states == "dead"
    return int((near & dead).sum()), int((near & ~dead).sum())


def _samples_for(inspection: Inspection, result: SiteResult) -> int:
    """Samples at which the joint bound of a site would reach the limit, if its dead stayed silent."""
    criteria = inspection.criteria
    return math.ceil(
        math.log(criteria.confidence_alpha / result.site.neurons) / math.log1p(-criteria.weak_bound)
    )
