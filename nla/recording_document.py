"""The document inside a recording: what it must hold before the rest of a stranger's file is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nla.errors import RecordingError, printable
from nla.statistics.configuration import CONFIG_TYPES, LATER

SCHEMA = "nla/recording/1"
SPLITS = ("calibration", "held_out")
_MOST_NEURONS = 1 << 26
_DEEPEST = 16
_LARGEST_INTEGER = 1 << 63
_TYPES: dict[str, type] = {
    "schema": str,
    **dict.fromkeys(("checkpoint", "data", "settings", "replay", "splits"), dict),
    **dict.fromkeys(("notes", "not_understood", "sites", "beside"), list),
}
_WHERE_KNOWN = ("certificates",)
_FACTS: dict[str, dict[str, type]] = {
    "checkpoint": {"path": str, "bytes": int, "parameters": int},
    "data": {"path": str, "samples": int, "held_out_samples": int, "shard": int, "account": str},
    "replay": {"seconds": float, "workers": int, "batch_size": int, "kernel": str},
}
"""What reports say of a run, and its type; a merged recording lists the values where shards differ."""
_CONFIG_KEYS = (CONFIG_TYPES.keys(), CONFIG_TYPES.keys() - set(LATER))
_SINGLE = ("bytes", "parameters", "samples", "held_out_samples", "seconds")
_THRESHOLDS = {"firing_threshold": 1e6, "flat_derivative": 0.25}
"""The criteria that a replay fixes, and the largest value that they take."""


def check_document(document: Mapping[str, Any]) -> None:
    """Make sure that a document has the form that a recording gives it.

    Raises:
        RecordingError: it has not; the message names the first thing that is strange.
    """
    types = {key: type(value) for key, value in document.items() if key not in _WHERE_KNOWN}
    if types != _TYPES or document["schema"] != SCHEMA:
        raise RecordingError(f"the document of no recording: it holds {printable(sorted(document))}")
    _check_plain(document)
    _check_certificates(document)
    _check_facts(document)
    _check_settings(document["settings"])
    sites, splits = document["sites"], document["splits"]
    good = all(isinstance(site, dict) and _size(site.get("neurons")) for site in sites)
    good &= all(isinstance(path, str) for path in (*document["beside"], *document["notes"]))
    good &= "calibration" in splits and set(splits) <= set(SPLITS)
    if not good:
        raise RecordingError("the document's sites or splits are not those of a recording")
    if len({repr(site.get("name")) for site in sites}) != len(sites):
        raise RecordingError("two of the document's sites bear one name")
    for configs in splits.values():
        if not isinstance(configs, list) or len(configs) != len(sites):
            raise RecordingError("a split has not as many statistics as there are sites")
        for site, config in zip(sites, configs, strict=True):
            if not _good_config(config, site["neurons"], len(document["settings"]["labels"])):
                raise RecordingError(f"the statistics of {printable(site.get('name'))} are not its own")


def _check_plain(document: Mapping[str, Any]) -> None:
    """Nothing nested deeper than ours is, and no number that a report or a merge could not write."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        values = [value for each in inner for value in each]
        for value in values:
            finite = not isinstance(value, float) or math.isfinite(value)
            if not finite or (type(value) is int and abs(value) >= _LARGEST_INTEGER):
                raise RecordingError("the document holds a number that is infinite or too large")
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise RecordingError(f"the document is nested deeper than {_DEEPEST} levels")


def _check_facts(document: Mapping[str, Any]) -> None:
    for part, facts in _FACTS.items():
        if part != "replay" and not isinstance(document[part].get("digest"), str):
            raise RecordingError(f"the document has no digest of the {part}")
        for name, kind in facts.items():
            if not _is_fact(document[part].get(name), kind, name in _SINGLE):
                raise RecordingError(f"the document's {part} has a strange {name}")
    labels = document["data"].get("labels")
    for each in labels if isinstance(labels, list) else [labels]:
        if each is not None and not (isinstance(each, dict) and isinstance(each.get("names"), list)):
            raise RecordingError("the document's data has strange labels")


def _check_certificates(document: Mapping[str, Any]) -> None:
    """Texts, and lists of texts: what proofs of silence speak of, which is this checkpoint."""
    if "certificates" not in document:
        return
    about = document["certificates"]
    values = list(about.values()) if isinstance(about, dict) else [None]
    texts = [item for value in values for item in (value if isinstance(value, list) else [value])]
    if not all(isinstance(text, str) for text in texts):
        raise RecordingError("the document has strange certificates")
    if about.get("checkpoint") != document["checkpoint"].get("digest"):
        raise RecordingError("the document's certificates are of another checkpoint")


def _is_fact(value: object, kind: type, single: bool) -> bool:
    """None, a value of the kind, or, unless it is single, a list of such, nested at most once."""
    if isinstance(value, list) and not single:
        flat = [item for each in value for item in (each if isinstance(each, list) else [each])]
        return all(_is_fact(item, kind, True) for item in flat)
    if kind is float:
        return value is None or type(value) in (int, float)
    return value is None or type(value) is kind


def _check_settings(settings: Mapping[str, Any]) -> None:
    names = settings.get("labels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecordingError("the document's labels are no list of names")
    for name in ("constants", "constant_arrays"):
        texts = settings.get(name, {})
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise RecordingError(f"the document's settings have strange {name}")
    for name, largest in _THRESHOLDS.items():
        value = settings.get(name)
        if not (isinstance(value, int | float) and type(value) is not bool and 0 <= value <= largest):
            raise RecordingError(f"the document's settings have no {name} in [0, {largest:g}]")


def _size(value: object) -> bool:
    return type(value) is int and 0 < value <= _MOST_NEURONS


def _good_config(config: object, neurons: int, labels: int) -> bool:
    if not isinstance(config, dict) or config.keys() not in _CONFIG_KEYS:
        return False
    types = all(type(value) is CONFIG_TYPES[key] for key, value in config.items() if key != "per_sample")
    known = config["per_sample"] is None or type(config["per_sample"]) is bool
    inputs = config.get("inputs", 0)
    observed = inputs == 0 or _size(inputs)
    return types and known and observed and config["neurons"] == neurons and config["labels"] == labels
