"""A certificate's file, checked: JSON of the right form, every type and range, before a verdict of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from nla.certificates import consistency
from nla.certificates.consistency import Strange
from nla.certificates.domains import KINDS
from nla.certificates.methods import METHODS
from nla.certificates.results import (
    ARITHMETICS,
    CERTIFIED,
    SCHEMA,
    VERDICTS,
    Certificates,
    SiteCertificates,
    Undecidable,
    site_of,
)
from nla.errors import UsageError, one_line, printable

_LARGEST_FILE = 1 << 28
_MOST_NEURONS = 1 << 26
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEMA = re.compile(r"nla/certificate/(\d{1,9})")
_FOUND = ("data", "random", "ascent")


def read(path: Path) -> Certificates:
    """The certificates in a file that `nla certify -o` wrote; witnesses that stand in it are not read back.

    Raises:
        UsageError: no such file, not JSON, not certificates, or of a later version.
    """
    where = printable(path)
    try:
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise UsageError(f"{where}: {what}, expected certificates that nla certify -o wrote")
        if path.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{where}: over {_LARGEST_FILE >> 20} MiB, expected certificates")
        plain = json.loads(path.read_bytes().decode(), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 120)
        raise UsageError(f"{where}: cannot be read: {reason}; expected what nla certify -o wrote") from None
    return from_dict(plain, where)


def from_dict(plain: Any, where: str = "certificates") -> Certificates:
    """The inverse of `Certificates.to_dict`, but for the witnesses' inputs.

    Raises:
        UsageError: it is no certificate, or contradicts itself: a verdict that its numbers do not show, counts, words
            or digests that do not belong to them, fields that nla does not write.
    """
    try:
        _check_schema(_mapping(plain, "the document").get("schema"))
        made = _made(plain)
        consistency.check(made, plain)
    except Strange as fault:
        raise UsageError(f"{where}: {printable(fault)}; expected what nla certify -o wrote") from None
    return made


def _made(plain: Mapping[str, Any]) -> Certificates:
    checkpoint, domain = (_mapping(plain.get(name), name) for name in ("checkpoint", "domain"))
    if not _DIGEST.fullmatch(str(checkpoint.get("digest"))):
        raise Strange("checkpoint.digest is no sha256")
    _one_of(domain.get("kind"), KINDS, "domain.kind")
    _text(domain.get("assumes"), "domain.assumes")
    for each in _list(domain.get("inputs"), "domain.inputs"):
        _stated(_mapping(each, "domain.inputs"))
    unit = _mapping(plain.get("arithmetic"), "arithmetic").get("unit_roundoff")
    if unit not in ARITHMETICS:
        raise Strange(f"unit_roundoff is {one_line(unit, 40)}, of no arithmetic that nla knows")
    budget = plain.get("time_budget")
    return Certificates(
        checkpoint=dict(checkpoint),
        domain=dict(domain),
        methods=tuple(
            _one_of(name, list(METHODS), "methods") for name in _list(plain.get("methods"), "methods")
        ),
        unit=float(unit),
        sites=tuple(_site(each) for each in _list(plain.get("sites"), "sites")),
        undecidable=tuple(_undecidable(each) for each in _list(plain.get("undecidable"), "undecidable")),
        shapes=dict(_mapping(plain.get("shapes", {}), "shapes")),
        free_sizes=_texts(plain.get("free_sizes", []), "free_sizes"),
        constants={
            name: _text(value, "constants")
            for name, value in _mapping(plain.get("constants", {}), "constants").items()
        },
        seconds=_number(plain.get("seconds"), "seconds"),
        budget=None if budget is None else _number(budget, "time_budget"),
        notes=_texts(plain.get("notes", []), "notes"),
    )


def _stated(told: Mapping[str, Any]) -> None:
    """The types of what a domain says of one tensor."""
    for name in ("tensor", "kind", "source", "text"):
        _text(told.get(name), f"domain.inputs: {name}")
    for name in ("low", "high"):
        _optional(told.get(name), f"domain.inputs: {name}", np.inf)
    _number(told.get("margin"), "domain.inputs: margin")
    for size in _list(told.get("shape"), "domain.inputs: shape"):
        _index(size, "domain.inputs: shape", 1 << 40)
    if told.get("samples") is not None:
        _index(told["samples"], "domain.inputs: samples", 1 << 62)


def _check_schema(schema: object) -> None:
    if schema == SCHEMA:
        return
    found = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if found and int(found[1]) > 1:
        raise Strange(f"schema is {schema}, which a later version of nla wrote; this one reads {SCHEMA}")
    raise Strange(f"no certificates: schema is {one_line(schema, 80)}")


def _site(plain: Any) -> SiteCertificates:
    told = _mapping(plain, "sites: an entry")
    name = _text(told.get("name"), "sites: name")
    neurons = _index(told.get("neurons"), f"{name}: neurons", _MOST_NEURONS)
    rows = [_mapping(row, f"{name}: rows") for row in _list(told.get("rows"), f"{name}: rows")]
    index = [_index(row.get("index"), f"{name}: index", neurons - 1) for row in rows]
    if index != sorted(set(index)):
        raise Strange(f"{name}: its rows are not in the order of the neurons, or name one twice")
    threshold = _number(told.get("threshold"), f"{name}: threshold")
    seen = [_witness(row, name) for row in rows]
    radius = [_radius(row, name) for row in rows]
    return site_of(
        {
            "name": name,
            "activation": _text(told.get("activation"), f"{name}: activation"),
            "neurons": neurons,
            "threshold": threshold,
            "plateau": _number(told.get("plateau"), f"{name}: plateau"),
            "assumes": _texts(told.get("assumes", []), f"{name}: assumes"),
            "every_size": told.get("every_size") is True,
        },
        index,
        [_one_of(row.get("verdict"), VERDICTS, f"{name}: verdict") for row in rows],
        bound=np.array([_optional(row.get("bound"), name, np.inf) for row in rows], np.float64),
        method=np.array([_text(row.get("method") or "", f"{name}: method") for row in rows], np.str_),
        found=np.array([each[0] for each in seen], np.str_),
        z=np.array([each[1] for each in seen], np.float64),
        a=np.array([each[2] for each in seen], np.float64),
        sample=np.array([each[3] for each in seen], np.int64),
        reason=np.array([_text(row.get("reason", ""), f"{name}: reason") for row in rows], np.str_),
        radius=np.array(radius, np.float64),
    )


def _witness(row: Mapping[str, Any], name: str) -> tuple[str, float, float, int]:
    if "witness" not in row:
        return "", np.nan, np.nan, -1
    told = _mapping(row["witness"], f"{name}: witness")
    sample = told.get("sample")
    return (
        _one_of(told.get("found"), _FOUND, f"{name}: witness"),
        _number(told.get("z"), f"{name}: witness: z"),
        _optional(told.get("a"), name, np.nan),
        -1 if sample is None else _index(sample, f"{name}: witness: sample", 1 << 62),
    )


def _radius(row: Mapping[str, Any], name: str) -> float:
    """NaN where there is none; null says that it has no end."""
    if "radius" not in row:
        return np.nan
    value = _optional(row["radius"], name, np.inf)
    if not (value >= 0 and row.get("verdict") == CERTIFIED):
        raise Strange(f"{name}: a radius is from 0, and of a certified neuron")
    return value


def _undecidable(plain: Any) -> Undecidable:
    told = _mapping(plain, "undecidable: an entry")
    name = _text(told.get("name"), "undecidable: name")
    neurons = _index(told.get("neurons"), f"{name}: neurons", _MOST_NEURONS)
    index = tuple(
        _index(k, f"{name}: index", neurons - 1) for k in _list(told.get("index"), f"{name}: index")
    )
    return Undecidable(name, neurons, index, _text(told.get("reason"), f"{name}: reason"))


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Strange(f"{what} is no object")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Strange(f"{what} is no list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise Strange(f"{what} is no text")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_text(each, what) for each in _list(value, what))


def _one_of(value: Any, known: Sequence[str], what: str) -> str:
    if value not in known:
        raise Strange(f"{what} is {one_line(value, 40)}, expected one of {', '.join(known)}")
    return str(value)


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or abs(value) > 1e308 or not isfinite(value):
        raise Strange(f"{what} is no number")
    return float(value)


def _optional(value: Any, what: str, missing: float) -> float:
    return missing if value is None else _number(value, f"{what}: a number")


def _index(value: Any, what: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise Strange(f"{what} is no whole number from 0 to {most:,}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
