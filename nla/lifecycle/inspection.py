"""From measurements to verdicts: the state, flags and evidence of every neuron, and what they mean
together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle import evidence
from nla.lifecycle.columns import columns
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.diagnosis import diagnose
from nla.lifecycle.information import Information, information
from nla.lifecycle.results import FLAGS, STATES, Inspection, SiteResult
from nla.lifecycle.special import binomial_upper_bound, joint_upper_bound
from nla.lifecycle.states import Classified, classify
from nla.site import NotUnderstood, Site
from nla.statistics.measurements import SiteMeasurements

Measured = Mapping[str, SiteMeasurements]
Bools = NDArray[np.bool_]


def judge(
    sites: Sequence[Site],
    measurements: Measured,
    held_out: Measured | None,
    criteria: Criteria,
    *,
    checkpoint: Mapping[str, Any],
    data: Mapping[str, Any],
    replay: Mapping[str, Any],
    living: Mapping[str, Any] | None = None,
    not_understood: Sequence[NotUnderstood] = (),
    notes: Sequence[str] = (),
    unchanged: Mapping[str, Bools] | None = None,
) -> Inspection:
    """The inspection of a checkpoint: pure, and the same for the same measurements.

    Args:
        sites: in graph order.
        measurements: of the calibration split, by site name; at least one sample.
        held_out: of the second split, by site name; None where there was none.
        criteria: the thresholds.
        checkpoint: path, format, digest, …; goes into the document as it is.
        data: path, digest, samples, …; likewise.
        replay: how the numbers were gathered; likewise.
        living: living data; None: read off the measurements.
        not_understood: what looked like a site and was left alone.
        notes: sentences about what was done to the graph and the data.
        unchanged: by site name [neurons], True where the weights equal an initial checkpoint's.
    """
    told = {site.name: _told(measurements[site.name]) for site in sites}
    classified = {
        site.name: classify(
            site,
            measurements[site.name],
            criteria,
            told=told[site.name],
            unchanged=(unchanged or {}).get(site.name),
        )
        for site in sites
    }
    verdicts = _Verdicts({s.name: s for s in sites}, measurements, held_out or {}, criteria, told, classified)
    bounds = verdicts.rate_upper_bounds()
    inspection = Inspection(
        sites=tuple(verdicts.result(site, bounds[site.name]) for site in sites),
        not_understood=tuple(not_understood),
        findings=(),
        criteria=criteria,
        checkpoint=dict(checkpoint),
        data=dict(data),
        replay=dict(replay),
        living=living_data(sites, measurements) if living is None else dict(living),
        notes=(*notes, *_notes(sites, measurements, classified)),
    )
    return replace(inspection, findings=diagnose(inspection))


def living_data(sites: Sequence[Site], measurements: Measured) -> dict[str, Any]:
    """What the trainability paper calls living data: samples that no layer has silenced.

    `killed_samples` by site, where the site was the first to be silent for them; `living_samples` that no
    site killed; `dead_layers` silent for every sample; `network_dead` where one of these lies on every
    path.
    """
    seen = [measurements[site.name] for site in sites]
    dead_layers = [
        site for site, m in zip(sites, seen, strict=True) if m.samples and m.silent_samples == m.samples
    ]
    samples = max((m.samples for m in seen), default=0)
    return {
        "killed_samples": {
            s.name: m.killed_samples for s, m in zip(sites, seen, strict=True) if m.killed_samples
        },
        "living_samples": samples - sum(m.killed_samples for m in seen),
        "dead_layers": [site.name for site in dead_layers],
        "network_dead": any(site.bottleneck for site in dead_layers),
    }


@dataclass(frozen=True)
class _Verdicts:
    """The verdicts on all sites, which lean on each other: a neuron starves where those before it are
    dead."""

    sites: Mapping[str, Site]
    measurements: Measured
    held_out: Measured
    criteria: Criteria
    told: Mapping[str, Information | None]
    classified: Mapping[str, Classified]

    @property
    def states(self) -> dict[str, NDArray[np.str_]]:
        """By site [neurons]."""
        return {name: verdict.states for name, verdict in self.classified.items()}

    def rate_upper_bounds(self) -> dict[str, NDArray[np.float64]]:
        """By site [neurons]; solved for all sites at once, because many neurons share a count."""
        fired = [evidence.fired_samples(self.measurements[name]) for name in self.sites]
        samples = [
            np.full(len(f), self.measurements[n].samples) for n, f in zip(self.sites, fired, strict=True)
        ]
        if not fired:
            return {}
        bounds = binomial_upper_bound(
            np.concatenate(fired), np.concatenate(samples), self.criteria.confidence_alpha
        )
        ends = np.cumsum([len(part) for part in fired])[:-1]
        return dict(zip(self.sites, np.split(bounds, ends), strict=True))

    def result(self, site: Site, bounds: NDArray[np.float64]) -> SiteResult:
        """The verdict on one site."""
        m, verdict = self.measurements[site.name], self.classified[site.name]
        held_out = self.held_out.get(site.name)
        told = self.told[site.name]
        table = columns(
            site,
            m,
            self.criteria,
            rate_upper_bound=np.where(m.counted > 0, bounds, np.nan),
            decided_by=verdict.decided_by,
            told=told,
            held_out=held_out,
        )
        dead = int((verdict.states == "dead").sum())
        share = dead / site.neurons
        alpha = self.criteria.confidence_alpha
        return SiteResult(
            site=site,
            measurements=m,
            held_out=held_out,
            states=verdict.states,
            flags=self._flags(site, told, table.get("labels_answered")),
            columns=table,
            counts={state: int((verdict.states == state).sum()) for state in STATES},
            effective_rank=m.effective_rank,
            effective_capacity=(1 - share) * m.effective_rank,
            dead_share=share,
            joint_rate_upper_bound=joint_upper_bound(site.neurons, m.samples, alpha)
            if dead
            else float("nan"),
            parameters_dead=evidence.parameters_dead(site, self.sites, self.states),
        )

    def _flags(
        self, site: Site, told: Information | None, answered: NDArray[np.float64] | None
    ) -> tuple[tuple[str, ...], ...]:
        m = self.measurements[site.name]
        moving = ~np.isin(self.states[site.name], ("dead", "constant", "unknown"))
        raised = {
            "linear": evidence.linear(site, m, self.criteria) & moving,
            "near_dead": evidence.near_dead(site, m, self.criteria),
            "starved": evidence.starved(site, self.states),
            "nonfinite": m.nonfinite > 0,
        }
        if told is not None and answered is not None:
            several = answered >= self.criteria.polysemantic_labels
            raised["polysemantic"] = told.selective(self.criteria) & several
        order = [flag for flag in FLAGS if flag in raised]
        rows = np.stack([raised[flag] for flag in order], axis=1)
        return tuple(tuple(flag for flag, up in zip(order, row, strict=True) if up) for row in rows)


def _told(measurements: SiteMeasurements) -> Information | None:
    """What the neurons say about the labels; None where fewer than two labels have samples."""
    labels = measurements.labels
    if labels is None or (labels.samples_per_label > 0).sum() < 2:
        return None
    return information(labels.joint)


def _notes(sites: Sequence[Site], measured: Measured, classified: Mapping[str, Classified]) -> list[str]:
    """What the measurements and the judgement have to say beside the numbers."""
    return [note for s in sites for note in (*measured[s.name].notes, *classified[s.name].notes)]
