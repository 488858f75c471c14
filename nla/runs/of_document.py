"""A run from an inspection document, the JSON that `nla inspect --json` writes (`schemas/inspection-1.schema.json`).

The document may be a stranger's: what is read of it is checked for type and range, and counts must sum, before any of
it is believed. What nothing here reads is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from nla.errors import RecordingError, one_line, printable
from nla.lifecycle.document import SCHEMA
from nla.lifecycle.results import FLAGS, STATES, Finding
from nla.runs import values
from nla.runs.rows import rows_of
from nla.runs.run import Run, RunSite
from nla.site import ROLES
from nla.statistics.measurements import Histogram

_MOST_NEURONS = 1 << 26
_FAMILY, _VERSION = SCHEMA.rsplit("/", 1)
_MADE_BY = "nla inspect MODEL --data DATA --json FILE --neurons"
_FACTS: dict[str, dict[str, type]] = {
    "checkpoint": {"path": str, "format": str, "digest": str, "bytes": int, "parameters": int},
    "data": {"path": str, "digest": str, "samples": int, "held_out_samples": int},
    "replay": {"seconds": float, "workers": int, "batch_size": int, "kernel": str},
}
"""What reports say of a run, and its type; a merged recording lists the values where shards differ."""
_WORDS = ("unit", "range", "meaning", "source")


def from_document(document: Mapping[str, Any], label: str, path: str = "", step: int | None = None) -> Run:
    """The run that an inspection document describes; with rows where it holds a row for each neuron.

    Args:
        document: the parsed JSON.
        label: what the run is called beside others.
        path: the file that it was read from.
        step: the training step, where it is known.

    Raises:
        RecordingError: a document of another kind or version, or values that no inspection has.
    """
    check_schema(document)
    sites = tuple(_site(about, f"sites[{k}]") for k, about in enumerate(values.objects(document, "sites")))
    names = {site.name for site in sites}
    if len(names) != len(sites):
        raise RecordingError("two of its sites bear one name")
    return Run(
        label=label,
        sites=sites,
        **{name: _facts(document, name) for name in _FACTS},
        criteria=_criteria(values.mapping(document, "criteria")),
        living=_living(values.mapping(document, "living")),
        findings=tuple(
            _finding(about, f"findings[{k}]") for k, about in enumerate(values.objects(document, "findings"))
        ),
        not_understood=tuple(
            {name: values.text(about, name, f"not_understood[{k}]") for name in ("name", "op_type", "reason")}
            for k, about in enumerate(values.objects(document, "not_understood"))
        ),
        labels=_labels(document),
        notes=values.texts(document, "notes"),
        path=path,
        step=step,
    )


def check_schema(document: Mapping[str, Any]) -> None:
    """Make sure that a document is an inspection of this version.

    Raises:
        RecordingError: it is of a later version, of another kind, or of no kind.
    """
    schema = document.get("schema")
    if schema == SCHEMA:
        return
    family, _, version = schema.rpartition("/") if isinstance(schema, str) else ("", "", "")
    if family == _FAMILY and version.isascii() and version.isdigit() and int(version[:9]) > int(_VERSION):
        raise RecordingError(
            f"of a later version of nla: schema {printable(schema, 60)}, this one reads {SCHEMA}"
        )
    if family == "nla/weights":
        raise RecordingError(
            f"schema {printable(schema, 60)}: it was made without data and saw no activation; write one with {_MADE_BY}"
        )
    if isinstance(schema, str):
        raise RecordingError(f"schema {printable(schema, 60)}, expected {SCHEMA}, which {_MADE_BY} writes")
    raise RecordingError(
        f"JSON, but no document of nla: it has no schema; expected {SCHEMA}, which {_MADE_BY} writes"
    )


def _site(about: Mapping[str, Any], where: str) -> RunSite:
    neurons = values.count(about, "neurons", where, 1, _MOST_NEURONS)
    counts = _counts(about, "counts", STATES, where, neurons)
    if sum(counts.values()) != neurons:
        raise RecordingError(f"{where}.counts sum to {sum(counts.values())}, expected {neurons}, its neurons")
    flags = _counts(about, "flags", FLAGS, where, neurons)
    samples = values.count(about, "samples", where)
    silent = values.count(about, "silent_samples", where, most=samples)
    bounds = values.mapping(about, "bounds", where)
    upstream = values.member(about, "upstream", where)
    return RunSite(
        name=values.text(about, "name", where),
        role=values.text(about, "role", where, ROLES),
        activation=values.text(about, "activation", where),
        neurons=neurons,
        samples=samples,
        positions=values.count(about, "positions", where),
        counts=counts,
        flags=flags,
        parameters_dead=values.count(about, "parameters_dead", where),
        effective_rank=values.number(about, "effective_rank", where),
        effective_rank_rows=values.count(about, "effective_rank_rows", where),
        effective_rank_exact=values.truth(about, "effective_rank_exact", where),
        silent_samples=silent,
        killed_samples=values.count(about, "killed_samples", where, most=silent),
        histogram=_histogram(about, "histogram", where),
        pre_histogram=_histogram(about, "pre_histogram", where),
        held_out=_held_out(about, where, counts["dead"]),
        dead_rate_bound=values.number(bounds, "dead_jointly", f"{where}.bounds", share=True),
        upstream=() if upstream is None else values.texts(about, "upstream", where),
        bottleneck=values.truth(about, "bottleneck", where),
        rows=rows_of(values.objects(about, "rows", where), counts, flags, where) if "rows" in about else None,
    )


def _counts(
    about: Mapping[str, Any], key: str, names: tuple[str, ...], where: str, neurons: int
) -> dict[str, int]:
    given, place = values.mapping(about, key, where), f"{where}.{key}"
    for name in given:
        if name not in names:
            raise RecordingError(f"{place} holds {printable(name, 60)!r}, expected {', '.join(names)} alone")
    return {name: values.count(given, name, place, most=neurons) for name in names}


def _histogram(about: Mapping[str, Any], key: str, where: str) -> Histogram | None:
    if values.member(about, key, where) is None:
        return None
    given, place = values.mapping(about, key, where), f"{where}.{key}"
    inner, counts = values.listed(given, "inner_edges", place), values.listed(given, "counts", place)
    if not all(map(values.is_number, inner)) or any(a >= b for a, b in pairwise(inner)):
        raise RecordingError(f"{place}.inner_edges are not increasing numbers")
    if not all(map(values.is_count, counts)) or len(counts) != len(inner) + 1:
        raise RecordingError(
            f"{place}.counts are not {len(inner) + 1} whole numbers, one more than its inner edges"
        )
    total = values.count(given, "values", place)
    if sum(counts) != total:
        raise RecordingError(f"{place}.counts sum to {sum(counts)}, expected {total}, its values")
    edges = np.array([-math.inf, *inner, math.inf], np.float64)
    return Histogram(edges, np.array(counts, np.int64), total, values.truth(given, "exact", place))


def _held_out(about: Mapping[str, Any], where: str, dead: int) -> dict[str, int] | None:
    if values.member(about, "held_out", where) is None:
        return None
    given, place = values.mapping(about, "held_out", where), f"{where}.held_out"
    return {
        "samples": values.count(given, "samples", place),
        "positions": values.count(given, "positions", place),
        "dead_that_fired": values.count(given, "dead_that_fired", place, most=dead),
    }


def _facts(document: Mapping[str, Any], part: str) -> dict[str, Any]:
    """checkpoint, data or replay, as they are, once what reports read of them has its type."""
    about = values.mapping(document, part)
    values.check_plain(about, part)
    if part != "replay":
        values.member(about, "digest", part)
    for name, kind in _FACTS[part].items():
        if not _is_fact(about.get(name), kind):
            values.refuse(part, name, about[name], f"{'a string' if kind is str else 'a number'}, or a list")
    return about


def _is_fact(value: object, kind: type) -> bool:
    """null, a value of the kind, or a list of such."""
    if isinstance(value, list):
        return all(not isinstance(item, list) and _is_fact(item, kind) for item in value)
    if kind is float:
        return value is None or values.is_number(value)
    return value is None or type(value) is kind


def _criteria(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for name in given:
        about = values.mapping(given, name, "criteria")
        for key in ("value", "default"):
            if not values.is_number(values.member(about, key, f"criteria.{printable(name, 60)}")):
                values.refuse(f"criteria.{printable(name, 60)}", key, about[key], "a number")
        for word in _WORDS:
            values.text(about, word, f"criteria.{printable(name, 60)}")
    return dict(given)


def _living(about: Mapping[str, Any]) -> dict[str, Any]:
    """Living data: empty where the inspection did not say."""
    if not about:
        return {}
    killed = values.mapping(about, "killed_samples", "living")
    return {
        "killed_samples": {name: values.count(killed, name, "living.killed_samples") for name in killed},
        "living_samples": values.count(about, "living_samples", "living"),
        "dead_layers": list(values.texts(about, "dead_layers", "living")),
        "network_dead": values.truth(about, "network_dead", "living"),
    }


def _finding(about: Mapping[str, Any], where: str) -> Finding:
    words = ("symptom", "diagnosis", "intervention", "expected", "evidence", "command")
    severity = values.number(about, "severity", where, share=True)
    return Finding(
        **{word: values.text(about, word, where) for word in words},
        sites=values.texts(about, "sites", where),
        severity=0.0 if math.isnan(severity) else severity,
    )


def _labels(document: Mapping[str, Any]) -> dict[str, Any] | None:
    if values.member(document, "labels", "") is None:
        return None
    about = values.mapping(document, "labels")
    names, samples = values.texts(about, "names", "labels"), values.listed(about, "samples", "labels")
    if len(samples) != len(names) or not all(map(values.is_count, samples)):
        shown = one_line(repr(samples)[:200], 60)
        raise RecordingError(f"labels.samples is {shown}, expected {len(names)} counts, one for each name")
    return {"names": list(names), "samples": samples}
