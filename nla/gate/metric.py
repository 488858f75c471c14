"""What a metric is made of: the place that it looks at, what it measures there, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nla.errors import RecordingError, printable
from nla.gate.words import percent
from nla.lifecycle.special import joint_upper_bound
from nla.runs.run import Run, RunSite

NAN = float("nan")
ANYWHERE = ("network", "layer")


@dataclass(frozen=True)
class Place:
    """Where a rule looks: a site, or several taken together."""

    run: Run
    sites: tuple[RunSite, ...]
    """At least one."""
    before: tuple[RunSite, ...] = ()
    """Their counterparts in the baseline, in the same order; empty without a baseline."""

    @property
    def neurons(self) -> int:
        """Neurons of all the sites."""
        return sum(site.neurons for site in self.sites)

    @property
    def samples(self) -> int:
        """Samples behind the verdicts, at the site that saw fewest."""
        return min(site.samples for site in self.sites)

    @property
    def alpha(self) -> float:
        """1 - confidence of the bounds. Raises RecordingError where a document has none, or one out of (0, 1)."""
        about = self.run.criteria.get("confidence_alpha", {})
        alpha = float(about.get("value", NAN))
        if not 0 < alpha < 1:
            raise RecordingError(
                f"{printable(self.run.label)}: its criterion confidence_alpha is {alpha:g}, expected a number in (0, 1)"
            )
        return alpha


@dataclass(frozen=True)
class Measured:
    """A metric at a place."""

    value: float
    """A share in [0, 1], a number from 0, or a flag, 0 or 1; NaN where it was not measured."""
    count: int | None = None
    """What `value` is a share of `of` of; None where nothing was counted."""
    of: int | None = None
    evidence: str = ""
    """What it rests on, a sentence; '' for the neurons and samples of the place."""
    missing: str = ""
    """Why it is NaN, and how it would be measured."""


Measure = Callable[[Place], Measured]


@dataclass(frozen=True)
class Metric:
    """Something that runs are held to."""

    name: str
    unit: str
    """'share', 'number', or 'flag': 0 or 1."""
    better: str
    """'low' or 'high'."""
    measure: Measure
    meaning: str
    todo: str
    """What to do where a rule about it does not hold."""
    counts: str = ""
    """What a whole number as a limit counts; '' where only a share makes sense."""
    scopes: tuple[str, ...] = ANYWHERE
    """The first is where a rule looks that does not say."""
    needs: str = ""
    """'rows' (a row for each neuron), 'ranks', 'baseline' (and rows); '' where every run has it."""


def dead_bound(place: Place) -> float:
    """No neuron dead at these sites fires on more than this share of samples, with confidence 1 - α; Bonferroni's."""
    seen = [site.samples for site in place.sites if site.counts["dead"]]
    return joint_upper_bound(place.neurons, min(seen), place.alpha) if seen else NAN


def dead_evidence(place: Place, count: int) -> str:
    """What it is worth that so many neurons were silent; '' where none was."""
    if not count:
        return ""
    samples = min(site.samples for site in place.sites if site.counts["dead"])
    bound = percent(float(f"{dead_bound(place):.2g}"))
    these, none = ("this neuron", "it") if count == 1 else (f"these {count:,} neurons", "none")
    return (
        f"0 of {samples:,} samples fired {these}; with {percent(1 - place.alpha)} confidence {none} fires on "
        f"{'no ' if count == 1 else ''}more than {bound} of samples"
    )
