"""What weights alone tell, as the document that `--json` writes: `schemas/weights-1.schema.json`.

A number that is not known, or not finite, is null.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from nla.lifecycle.plain import plain
from nla.weights.results import UNSEEN, Chain, LayerWeights, SiteWeights, WeightInspection, spread

SCHEMA = "nla/weights/1"


def document(found: WeightInspection) -> dict[str, Any]:
    """The inspection of weights as a mapping for JSON."""
    whole = {
        "schema": SCHEMA,
        "activations_seen": False,
        "statement": UNSEEN,
        "summary": {**found.summary, "sites": len(found.sites), "layers": len(found.layers)},
        "sites": [_site(site) for site in found.sites],
        "layers": [_layer(layer) for layer in found.layers],
        "chains": [_chain(chain) for chain in found.chains],
        "unchained": found.unchained,
        "not_understood": [asdict(place) for place in found.not_understood],
        "unread_layers": found.unread_layers,
        "checkpoint": found.checkpoint,
        "notes": found.notes,
    }
    return {key: plain(value) for key, value in whole.items()}


def _site(found: SiteWeights) -> dict[str, Any]:
    site, activation = found.site, found.site.activation.to_dict()
    return {
        "name": site.name,
        "role": site.role,
        "activation": activation["name"],
        "activation_parameters": activation["parameters"],
        "neurons": site.neurons,
        "channel_axis": site.channel_axis,
        "makers": found.makers,
        "readers": found.readers,
        "counts": found.counts,
        "unread": found.unread_count,
        "duplicates": found.duplicates,
        "duplicates_exact": int(found.duplicate_exact.sum()),
        "compared": found.compared,
        "incoming_norm": _spread(spread(found.incoming_norm)),
        "outgoing_norm": _spread(spread(found.outgoing_norm)),
        "skipped": found.skipped or None,
        "outgoing_skipped": found.outgoing_skipped or None,
        "rows": list(_rows(found)),
    }


def _rows(found: SiteWeights) -> list[dict[str, Any]]:
    """One for each neuron of which the weights tell something."""
    unread = np.zeros(len(found.states), bool) if found.unread is None else found.unread
    told = (found.states != "unknown") | unread | (found.duplicate_of >= 0)
    return [
        {
            "index": index,
            "state": str(found.states[index]),
            "evidence": found.evidence.get(index),
            "value": found.values.get(index),
            "unread": None if found.unread is None else bool(unread[index]),
            "duplicate_of": None if found.duplicate_of[index] < 0 else int(found.duplicate_of[index]),
            "duplicate_exact": bool(found.duplicate_exact[index]),
        }
        for index in np.flatnonzero(told).tolist()
    ]


def _spread(three: tuple[float, float, float] | None) -> dict[str, float] | None:
    return None if three is None else dict(zip(("min", "median", "max"), three, strict=True))


def _layer(layer: LayerWeights) -> dict[str, Any]:
    return {
        **asdict(layer),
        "sparsity": layer.sparsity,
        "rejected": layer.rejected if layer.likenesses else None,
    }


def _chain(chain: Chain) -> dict[str, Any]:
    return {
        "factors": [{**asdict(factor), "value": factor.value} for factor in chain.factors],
        "log10_bounds": chain.log10_bounds,
        "kind": chain.kind,
        "end": chain.end,
        "stopped": chain.stopped or None,
    }
