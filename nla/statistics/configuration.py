"""What a site's accumulators are built from: plain values that a recording keeps beside their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nla.statistics import rows
from nla.statistics.base import Accumulator, Array
from nla.statistics.firing import Firing
from nla.statistics.gram import Gram
from nla.statistics.histogram import Histogram
from nla.statistics.inputs import InputMean
from nla.statistics.labels import Labels
from nla.statistics.moments import Moments
from nla.statistics.pre import Pre
from nla.statistics.rows import RowSample, capacity
from nla.statistics.sample_moments import SampleMoments

Config = dict[str, Any]

CONFIG_TYPES: dict[str, type] = {
    "neurons": int,
    "labels": int,
    "low": bool,
    "high": bool,
    "nonnegative": bool,
    "exact_rank": bool,
    "exact_histogram": bool,
    "per_sample": bool,
    "pre": bool,
    "pre_share": bool,
    "inputs": int,
}
"""What `SiteStatistics.config` holds; `per_sample` may be None, before the first batch."""

LATER = ("pre_share", "inputs")
"""What the configurations of the first recordings lack."""


def parts(config: Mapping[str, Any]) -> dict[str, tuple[type[Accumulator[Any]], dict[str, Any]]]:
    """The accumulators of a configuration and their options, by name."""
    neurons = config["neurons"]
    each = {"neurons": neurons}
    made: list[tuple[type[Accumulator[Any]], dict[str, Any]]] = [
        (Firing, {**each, "low": config["low"], "high": config["high"]}),
        (Moments, each),
        (RowSample, {**each, "capacity": capacity(neurons)}),
    ]
    if config["per_sample"]:
        made.append((SampleMoments, each))
    if config["labels"] and config["per_sample"] is not None:
        joint = {name: config[name] for name in ("labels", "per_sample", "nonnegative")}
        made.append((Labels, {**each, **joint}))
    if config["exact_rank"]:
        made.append((Gram, each))
    if config["exact_histogram"]:
        made.append((Histogram, {}))
    if config["pre"]:
        made.append((Pre, {**each, "share": config.get("pre_share", True)}))
    if config.get("inputs"):
        made.append((InputMean, {"channels": config["inputs"]}))
    return {kind.name: (kind, options) for kind, options in made}


def of_today(state: Mapping[str, Array], config: Mapping[str, Any]) -> tuple[dict[str, Array], Config]:
    """State and configuration as they are kept today.

    The first recordings observed no inputs, and kept rows of the share only, whose keys did not say so.
    """
    if config.keys() >= set(LATER):
        return dict(state), dict(config)
    state, keys = dict(state), f"{Pre.name}.keys"
    if keys in state:
        state[keys] = rows.ranked(state[keys], np.ones(len(state[keys]), np.bool_))
    return state, {**config, "pre_share": config["pre"], "inputs": 0}
