"""What a rule can be about: one small function a metric.

To add one, write a function from a place to `Measured` under its name, with one sentence for a docstring, and decorate
it: it is then in rules.toml, in `nla check --list` and in the schema's reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nla.gate.metric import ANYWHERE, NAN, Measure, Measured, Metric, Place, dead_bound, dead_evidence
from nla.gate.words import number

_SHOW = "nla neurons RUN.h5 "


METRICS: dict[str, Metric] = {}
"""By name, in the order of `nla check --list`."""


def _metric(
    unit: str,
    better: str,
    todo: str,
    *,
    counts: str = "",
    scopes: tuple[str, ...] = ANYWHERE,
    needs: str = "",
) -> Callable[[Measure], Measure]:
    def enter(measure: Measure) -> Measure:
        name = measure.__name__
        meaning = " ".join((measure.__doc__ or "").split()).rstrip(".")
        METRICS[name] = Metric(name, unit, better, measure, meaning, todo, counts, scopes, needs)
        return measure

    return enter


def _of_neurons(todo: str, **settings: str) -> Callable[[Measure], Measure]:
    """A share of neurons, the fewer the better."""
    return _metric("share", "low", todo, counts="neurons", **settings)  # type: ignore[arg-type]


@_of_neurons(
    "remove them before serving (nla prune MODEL --data D -o OUT) or reset them before training goes on (nla repair); "
    "for the next training, lower the learning rate or warm it up"
)
def dead(place: Place) -> Measured:
    """Neurons whose activation is zero at every counted position."""
    total = sum(site.counts["dead"] for site in place.sites)
    return _verdicts(place, total, dead_evidence(place, total))


@_of_neurons("fold them into the next layer's bias: nla plan RUN.h5 --policy fold -o MANIFEST.json")
def constant(place: Place) -> Measured:
    """Neurons that give one value, not zero, for every sample."""
    return _in_state(place, "constant")


@_of_neurons(
    "normalise what enters the layer, or train with smaller initial weights and a lower rate; "
    + _SHOW
    + "--state "
    "saturated lists them"
)
def saturated(place: Place) -> Measured:
    """Neurons that lie on a flat part of φ on nearly all positions."""
    return _in_state(place, "saturated")


@_of_neurons(
    "reset them before training goes on (nla repair MODEL --data D -o OUT), or compare their contribution "
    "scores before pruning"
)
def dormant(place: Place) -> Measured:
    """Neurons whose dormancy score is at most the criteria's threshold."""
    return _in_state(place, "dormant")


@_of_neurons("find where NaN or infinity comes from: no verdict was possible on these neurons")
def unknown(place: Place) -> Measured:
    """Neurons on which no verdict was possible."""
    return _share(sum(site.counts["unknown"] for site in place.sites), place.neurons)


@_of_neurons(
    _SHOW + "--format csv gives every activation_rate; a lower rate or another φ in training", needs="rows"
)
def never_positive(place: Place) -> Measured:
    """Neurons with z > 0 at no position: dead for a ReLU, on the lower branch only for LeakyReLU, ELU or GELU."""
    rates = [None if site.rows is None else site.rows.columns["activation_rate"] for site in place.sites]
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return Measured(NAN, missing=_NO_ROWS)
    return _verdicts(place, sum(int((rate == 0).sum()) for rate in known))


@_of_neurons("none is needed for health; a layer that is mostly linear could be merged with the next")
def linear(place: Place) -> Measured:
    """Rectifiers that are never off: linear on this data."""
    return _flagged(place, "linear")


@_of_neurons("judge them on more data, and on the graph that is served, before anything is removed")
def near_dead(place: Place) -> Measured:
    """Neurons whose largest z lies close to zero: other data or rounding wakes or kills them."""
    return _flagged(place, "near_dead")


@_of_neurons("mend the layer before; these neurons can only wake after it has")
def starved(place: Place) -> Measured:
    """Neurons all of whose inputs come from dead or constant neurons."""
    return _flagged(place, "starved")


@_of_neurons("find the samples that overflow: scale the data as in training, or run these layers in float32")
def nonfinite(place: Place) -> Measured:
    """Neurons that gave NaN or infinity at least once."""
    return _flagged(place, "nonfinite")


@_metric(
    "share",
    "high",
    "a narrower layer, or merging neurons that say the same; in training less regularisation or a lower rate",
    scopes=("layer",),
    needs="ranks",
)
def effective_rank(place: Place) -> Measured:
    """Effective rank of a layer's activations as a share of its neurons."""
    absolute = effective_rank_absolute(place)
    return Measured(
        absolute.value / max(place.neurons, 1), evidence=absolute.evidence, missing=absolute.missing
    )


@_metric(
    "number",
    "high",
    "a narrower layer, or merging neurons that say the same; in training less regularisation or a lower rate",
    scopes=("layer",),
    needs="ranks",
)
def effective_rank_absolute(place: Place) -> Measured:
    """Effective rank of a layer's activations: directions that they span, weighted (eq. 6)."""
    (site,) = place.sites
    if not math.isfinite(site.effective_rank):
        return Measured(
            NAN, missing="its effective rank was not measured: give the recording that `nla inspect -o` wrote"
        )
    rows = f"{'all' if site.effective_rank_exact else 'a sample of'} {site.effective_rank_rows:,} rows"
    few = ", which it cannot exceed" if site.effective_rank_rows < site.neurons else ""
    told = f"rank {number(site.effective_rank)} of {site.neurons:,} neurons, from {rows}{few}"
    return Measured(site.effective_rank, evidence=told)


@_metric("share", "low", "replay more samples: the bound falls as 1 / samples")
def dead_rate_bound(place: Place) -> Measured:
    """Share of samples on which no neuron called dead fires more often, with the criteria's confidence; 0 where none
    is dead."""
    total = sum(site.counts["dead"] for site in place.sites)
    judged = _verdicts(place, total)
    if judged.missing:
        return judged
    return Measured(dead_bound(place) if total else 0.0, evidence=dead_evidence(place, total))


@_metric(
    "share",
    "low",
    "calibrate with more data, and data like those in service; treat as dead only what stays silent on both",
    counts="neurons",
)
def held_out_woken(place: Place) -> Measured:
    """Neurons called dead that fire on held-out data, as a share of the dead."""
    held_out = [site.held_out for site in place.sites]
    if any(each is None for each in held_out):
        return Measured(NAN, missing="nothing was held out: nla inspect … --held-out 0.2")
    known = [each for each in held_out if each is not None]
    samples = min(each["samples"] for each in known)
    total, woken = sum(s.counts["dead"] for s in place.sites), sum(each["dead_that_fired"] for each in known)
    told = f"{woken:,} of {total:,} dead neurons fired on {samples:,} held-out samples"
    return Measured(woken / total if total else 0.0, woken, total, told)


@_metric("number", "high", "replay more samples: what is silent on few says little about the next")
def samples(place: Place) -> Measured:
    """Samples behind the verdicts."""
    return Measured(place.samples)


@_metric(
    "share",
    "low",
    "compare these samples with the others (scale, corruption); widen the narrowest layer",
    counts="samples",
)
def killed_samples(place: Place) -> Measured:
    """Samples that a layer silences altogether, counted at the first that does."""
    killed, seen = _killed_samples(place)
    return Measured(
        killed / seen if seen else 0.0, killed, seen, f"{killed:,} of {seen:,} samples were killed"
    )


@_metric(
    "share",
    "high",
    "compare the killed samples with the others (scale, corruption); widen the narrowest layer",
    counts="samples",
    scopes=("network",),
)
def living_samples(place: Place) -> Measured:
    """Samples that no layer silences altogether."""
    killed, seen = _killed_samples(place)
    living = seen - killed
    return Measured(living / seen if seen else 1.0, living, seen, f"{living:,} of {seen:,} samples live")


@_metric(
    "flag",
    "low",
    "train it anew: no gradient passes, and every input gives one output",
    scopes=("network",),
)
def network_dead(place: Place) -> Measured:
    """Whether a layer that every path passes is silent for every sample: 0 or 1."""
    silent = [site.name for site in place.sites if site.samples and site.silent_samples == site.samples]
    cut = bool(place.run.living.get("network_dead", False))
    told = f"silent for all {_most_samples(place):,} samples: {', '.join(silent)}" if silent else ""
    return Measured(float(cut), evidence=told or "no layer is silent for every sample")


@_metric(
    "share", "low", "nla prune MODEL --data D -o OUT frees them at the same outputs", counts="parameters"
)
def parameters_dead(place: Place) -> Measured:
    """Parameters that dead neurons hold, as a share of the checkpoint's."""
    held, total = sum(site.parameters_dead for site in place.sites), place.run.checkpoint.get("parameters")
    if not isinstance(total, int) or total <= 0:
        return Measured(NAN, missing="how many parameters the checkpoint has is not known")
    held = min(held, total)
    return Measured(held / total, held, total, f"{held:,} of {total:,} parameters are held by dead neurons")


@_metric(
    "number",
    "low",
    "nla sites MODEL says why each was left alone; what they hold is not judged",
    scopes=("network",),
)
def not_understood(place: Place) -> Measured:
    """Places of the graph that look like a layer and were left alone."""
    return Measured(len(place.run.not_understood), evidence=f"{place.neurons:,} neurons were judged")


@_of_neurons("nla diff BASELINE RUN lists them, with what they were", needs="baseline")
def died(place: Place) -> Measured:
    """Neurons that are dead and were not in the baseline, matched by site and index."""
    total = 0
    for now, then in zip(place.sites, place.before, strict=True):
        if now.rows is None or then.rows is None:
            return Measured(NAN, missing=_NO_ROWS)
        total += int(np.sum((now.rows.states == "dead") & (then.rows.states != "dead")))
    return _verdicts(place, total, dead_evidence(place, total))


_NO_ROWS = "the document has no row for each neuron: give the recording that `nla inspect -o` wrote"


_UNJUDGED = (
    "no verdict was possible, for no finite value was counted there: NaN, infinity, or a mask over all"
)


def _share(count: int, of: int, evidence: str = "") -> Measured:
    return Measured(count / of if of else 0.0, count, of, evidence)


def _verdicts(place: Place, count: int, evidence: str = "") -> Measured:
    """A share of neurons that were judged; where none was, a rule on it would hold for want of a verdict."""
    if all(site.counts["unknown"] == site.neurons for site in place.sites):
        return Measured(NAN, missing=_UNJUDGED)
    return _share(count, place.neurons, evidence)


def _in_state(place: Place, state: str) -> Measured:
    return _verdicts(place, sum(site.counts[state] for site in place.sites))


def _flagged(place: Place, flag: str) -> Measured:
    return _share(sum(site.flags.get(flag, 0) for site in place.sites), place.neurons)


def _most_samples(place: Place) -> int:
    return max(site.samples for site in place.sites)


def _killed_samples(place: Place) -> tuple[int, int]:
    """Samples that were killed, and all."""
    seen = _most_samples(place)
    return min(sum(site.killed_samples for site in place.sites), seen), seen
