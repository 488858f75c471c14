"""An inspection as the document that `--json` writes: plain values, strict JSON,
`schemas/inspection-1.schema.json`.

A number that is not known, or not finite (a margin where z never varies), is null.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from nla.lifecycle.certified import counts
from nla.lifecycle.plain import plain
from nla.lifecycle.results import FLAGS, Inspection, SiteResult
from nla.lifecycle.special import joint_upper_bound
from nla.site import Site
from nla.statistics.measurements import Histogram

SCHEMA = "nla/inspection/1"


def document(inspection: Inspection, *, neurons: bool = False) -> dict[str, Any]:
    """The inspection as a mapping for JSON; with `neurons`, every site also holds a row for each of its
    neurons."""
    whole = {
        "schema": SCHEMA,
        "summary": _summary(inspection),
        "sites": [_site(result, inspection, neurons) for result in inspection.sites],
        "findings": [asdict(finding) for finding in inspection.findings],
        "not_understood": [asdict(place) for place in inspection.not_understood],
        "labels": _labels(inspection),
        "living": inspection.living,
        "criteria": inspection.criteria.describe(),
        "checkpoint": inspection.checkpoint,
        "data": inspection.data,
        "replay": inspection.replay,
        "notes": inspection.notes,
    }
    if inspection.certificates:
        whole["certificates"] = {**inspection.certificates, "dead": counts(inspection.sites)}
    return {key: plain(value) for key, value in whole.items()}


def _summary(inspection: Inspection) -> dict[str, Any]:
    totals, flagged = inspection.summary, [_flagged(result) for result in inspection.sites]
    return {
        **totals,
        "sites": len(inspection.sites),
        "dead_share": totals["dead"] / totals["neurons"] if totals["neurons"] else None,
        "joint_rate_upper_bound": inspection.joint_rate_upper_bound,
        "parameters_dead": sum(result.parameters_dead for result in inspection.sites),
        "flags": {flag: sum(site[flag] for site in flagged) for flag in FLAGS},
    }


def _site(result: SiteResult, inspection: Inspection, neurons: bool) -> dict[str, Any]:
    m = result.measurements
    about = {
        **_identity(result.site),
        "samples": m.samples,
        "positions": m.positions,
        "counts": result.counts,
        "flags": _flagged(result),
        "dead_share": result.dead_share,
        "parameters_dead": result.parameters_dead,
        "effective_rank": result.effective_rank,
        "effective_rank_rows": m.effective_rank_rows,
        "effective_rank_exact": m.effective_rank_exact,
        "effective_capacity": result.effective_capacity,
        "bounds": _bounds(result, inspection),
        "held_out": _held_out(result),
        "nonfinite": int(m.nonfinite.sum()),
        "silent_samples": m.silent_samples,
        "killed_samples": m.killed_samples,
        "histogram": _histogram(m.histogram),
        "pre_histogram": _histogram(m.pre_histogram),
        "label_information": _label_information(result),
        "notes": m.notes,
    }
    return {**about, "rows": _rows(result)} if neurons else about


def _identity(site: Site) -> dict[str, Any]:
    activation = site.activation.to_dict()
    return {
        "name": site.name,
        "role": site.role,
        "activation": activation["name"],
        "activation_parameters": activation["parameters"],
        "neurons": site.neurons,
        "channel_axis": site.channel_axis,
        "channel_axes": site.channel_axes,
        "unit_size": site.unit_size,
        "pre": site.pre,
        "gate": site.gate,
        "up": site.up,
        "producers": [{"node": p.node, "op_type": p.op_type, "weight": p.weight} for p in site.producers],
        "consumers": [{"node": c.node, "op_type": c.op_type, "weight": c.weight} for c in site.consumers],
        "upstream": site.upstream,
        "coupled": site.coupled,
        "bottleneck": site.bottleneck,
        "parameters_per_neuron": site.parameters_in,
    }


def _bounds(result: SiteResult, inspection: Inspection) -> dict[str, float]:
    """What silence on all samples says of one neuron, and of all of the site at once."""
    alpha, samples = inspection.criteria.confidence_alpha, result.measurements.samples
    return {
        "confidence": 1 - alpha,
        "samples": samples,
        "silent_neuron": joint_upper_bound(1, samples, alpha),
        "dead_jointly": result.joint_rate_upper_bound,
    }


def _held_out(result: SiteResult) -> dict[str, int] | None:
    if result.held_out is None:
        return None
    woken = (result.states == "dead") & (result.columns["held_out_fired"] > 0)
    held_out = result.held_out
    return {"samples": held_out.samples, "positions": held_out.positions, "dead_that_fired": int(woken.sum())}


def _histogram(histogram: Histogram | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    return {
        "inner_edges": histogram.edges[1:-1],
        "counts": histogram.counts,
        "values": histogram.values,
        "exact": histogram.exact,
    }


def _labels(inspection: Inspection) -> dict[str, Any] | None:
    """The labels and how many samples bear each; null without labels."""
    for result in inspection.sites:
        labels = result.measurements.labels
        if labels is not None:
            return {"names": labels.labels, "samples": labels.samples_per_label}
    return None


def _label_information(result: SiteResult) -> dict[str, Any] | None:
    """What the site's neurons say about the label, in three numbers, and what was counted."""
    labels, columns = result.measurements.labels, result.columns
    if labels is None or "mutual_information" not in columns:
        return None
    return {
        "response": labels.response,
        "bin_edges": labels.bin_edges,
        "mean_mutual_information": columns["mutual_information"].mean(),
        "largest_mutual_information": columns["mutual_information"].max(),
        "mean_selectivity": _mean(columns["selectivity"]),
    }


def _flagged(result: SiteResult) -> dict[str, int]:
    raised = Counter(flag for flags in result.flags for flag in flags)
    return {flag: raised[flag] for flag in FLAGS}


def _rows(result: SiteResult) -> list[dict[str, Any]]:
    """A mapping for each neuron: its index, state, flags, and the columns of `nla neurons`."""
    names = list(result.columns)
    values = zip(*(column.tolist() for column in result.columns.values()), strict=True)
    return [
        {"index": index, "state": str(state), "flags": flags, **dict(zip(names, row, strict=True))}
        for index, (state, flags, row) in enumerate(zip(result.states, result.flags, values, strict=True))
    ]


def _mean(values: Any) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
