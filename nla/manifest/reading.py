"""A manifest's file, checked: JSON of the right form, every type and range, before anything is done with it.

What needs the model (a site that it has not, an index beyond its units) is for the surgery to refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isinf
from pathlib import Path
from typing import Any

from nla.errors import UsageError, one_line, printable
from nla.manifest.parameters import (
    CUTS,
    KINDS,
    PER_UNIT_EVIDENCE,
    WHOLE_LAYER,
    checked_parameters,
    is_index,
    per_unit,
    refuse_unknown,
)

TABLES = ("checkpoint", "recording", "data", "policy", "worth", "effect", "criteria")
_FIELDS = ("schema", "nla", *TABLES, "actions", "declined", "notes")
_ACTION = ("id", "kind", "site", "units", "parameters", "evidence", "effect", "weights")
_WEIGHT = ("name", "shape", "axis", "incoming", "first", "stride", "count", "step")
_DECLINED = ("kind", "site", "units", "reason")
_MIXED = ("repair",)
"""Policies that choose among kinds of action, where they decline before the choice."""
_LARGEST_FILE = 1 << 28
_MOST_VALUES = 8_000_000
"""In memory a value takes up to a hundred bytes, and in the file two."""
_LARGEST_INDEX = 1 << 31
_DEEPEST = 32
_MOST_AXES = 32
_LONGEST_ID = 200
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCHEMA = re.compile(r"nla/manifest/(\d{1,9})")


def load(path: Path) -> Any:
    """The JSON value in a file; raises UsageError where there is none."""
    where = printable(path)
    try:
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise UsageError(f"{where}: {what}, expected a manifest that nla plan wrote")
        if path.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{where}: over {_LARGEST_FILE >> 20} MiB, expected a manifest")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UsageError(f"{where}: cannot be read: {reason}") from None
    return parse(content, where)


def parse(content: str | bytes, where: str) -> Any:
    """The JSON value in a text; raises UsageError, also for NaN and for a name that stands twice."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        values = sum(map(text.count, ",[{"))
        if values > _MOST_VALUES:
            raise UsageError(
                f"{where}: over {_MOST_VALUES:,} values, expected a manifest that nla plan wrote"
            )
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested or long without end
        raise UsageError(
            f"{where}: not JSON: {one_line(error, 120)}; expected a manifest that nla plan wrote"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{printable(twice)!r} stands twice in one object")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"{one_line(text, 40)} is beyond all numbers")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def check(plain: Any, where: str) -> dict[str, Any]:
    """A manifest's plain values: actions with an id, parameters and evidence per unit as lists.

    Raises:
        UsageError: the first thing that is not as it has to be.
    """
    if not isinstance(plain, Mapping):
        raise UsageError(f"{where}: not a manifest: {_kind(plain)}, expected a JSON object")
    _check_schema(plain.get("schema"), where)
    _check_depth(plain, where)
    refuse_unknown(plain, _FIELDS, f"{where}: a manifest has no field")
    for name in ("checkpoint", "actions"):
        if name not in plain:
            raise UsageError(f"{where}: the field {name} is missing; every manifest has it")
    for name in TABLES:
        _of_type(plain.get(name, {}), Mapping, "an object", f"{where}: {name}")
    _check_checkpoint(plain["checkpoint"], f"{where}: checkpoint")
    _of_type(plain.get("nla", ""), str, "a version", f"{where}: nla")
    _check_data(plain.get("data", {}), f"{where}: data")
    for note in _of_type(plain.get("notes", []), list, "a list", f"{where}: notes"):
        _of_type(note, str, "a sentence", f"{where}: notes: an entry")
    whole = dict(plain)
    entries = _of_type(plain["actions"], list, "a list", f"{where}: actions")
    whole["actions"] = [
        _checked_action(entry, f"a{number}", f"{where}: action {number}")
        for number, entry in enumerate(entries, 1)
    ]
    _check_together(whole["actions"], where)
    entries = _of_type(plain.get("declined", []), list, "a list", f"{where}: declined")
    for number, entry in enumerate(entries, 1):
        _check_declined(entry, f"{where}: declined entry {number}")
    return whole


def _check_checkpoint(plain: Mapping[str, Any], where: str) -> None:
    digest = plain.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise UsageError(f"{where}.digest is {_shown(digest)}, expected the sha256 of the model")
    for name in ("constants", "constant_arrays"):
        values = _of_type(plain.get(name, {}), Mapping, "an object", f"{where}.{name}")
        for value in values.values():
            _of_type(value, str, "a text", f"{where}.{name}: a value")


def _check_data(plain: Mapping[str, Any], where: str) -> None:
    samples = plain.get("samples", 0)
    if samples is not None and not is_index(samples):
        raise UsageError(f"{where}.samples is {_shown(samples)}, expected a whole number from 0")
    shapes = _of_type(plain.get("shapes", {}), Mapping, "an object", f"{where}.shapes")
    for shape in shapes.values():
        sizes = _of_type(shape, list, "a list of sizes", f"{where}.shapes: a shape")
        odd = next((size for size in sizes if size is not None and not _is_size(size)), None)
        if odd is not None or len(sizes) > _MOST_AXES:
            raise UsageError(
                f"{where}.shapes: {_shown(shape)} is no shape, expected sizes, or null where one is free"
            )


def _check_depth(plain: Mapping[str, Any], where: str) -> None:
    """Remarks may hold anything, but nothing that a library could not walk through."""
    level: list[Any] = [plain]
    for _ in range(_DEEPEST):
        level = [
            member
            for value in level
            for member in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(member, Mapping | list)
        ]
    if level:
        raise UsageError(
            f"{where}: nested more than {_DEEPEST} deep, expected a manifest that nla plan wrote"
        )


def _check_schema(schema: Any, where: str) -> None:
    if schema == "nla/manifest/1":
        return
    found = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if found and int(found[1]) > 1:
        raise UsageError(
            f"{where}: schema is {schema}, which a later version of nla wrote; this one reads "
            "nla/manifest/1: update nla, or plan again"
        )
    raise UsageError(f"{where}: not a manifest: schema is {_shown(schema)}, expected nla/manifest/1")


def _checked_action(entry: Any, usual_id: str, where: str) -> dict[str, Any]:
    """One action with all of its fields."""
    kind, site, units = _checked_target(entry, _ACTION, KINDS, where)
    where = f"{where} ({kind} at {printable(site, 80)})"
    name = entry.get("id", usual_id)
    if not _is_text(name) or not 0 < len(name) <= _LONGEST_ID:
        raise UsageError(f"{where}: id is {_shown(name)}, expected a short text")
    tables = {
        field: _of_type(entry.get(field, {}), Mapping, "an object", f"{where}: {field}")
        for field in ("parameters", "evidence", "effect")
    }
    evidence = {
        column: per_unit_evidence(value, units) if column in PER_UNIT_EVIDENCE else value
        for column, value in tables["evidence"].items()
    }
    parameters = checked_parameters(kind, units, tables["parameters"], where)
    weights = _of_type(entry.get("weights", []), list, "a list", f"{where}: weights")
    for weight in weights:
        _check_weight(weight, where)
    return {
        "id": name,
        "kind": kind,
        "site": site,
        "units": units,
        "parameters": parameters,
        "evidence": evidence,
        "effect": dict(tables["effect"]),
        "weights": weights,
    }


def per_unit_evidence(value: Any, units: Sequence[int]) -> list[Any]:
    """As `per_unit`; None for a unit that a person added, of which the recording said nothing here."""
    if isinstance(value, Mapping):
        return [value.get(str(unit)) for unit in units]
    if isinstance(value, list) and len(value) != len(units):
        return [None] * len(units)
    return per_unit(value, units, "evidence")


def _checked_target(
    entry: Any, fields: Sequence[str], kinds: Sequence[str], where: str
) -> tuple[str, str, list[int]]:
    """Kind, site and units, which every entry has."""
    _of_type(entry, Mapping, "an object", where)
    refuse_unknown(entry, fields, f"{where}: no field")
    for name in ("kind", "site", "units"):
        if name not in entry:
            raise UsageError(f"{where}: the field {name} is missing")
    kind, site, units = entry["kind"], entry["site"], entry["units"]
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"{where}: kind is {_shown(kind)}, expected one of {', '.join(kinds)}")
    if not _is_text(site) or not site:
        raise UsageError(f"{where}: site is {_shown(site)}, expected the name of a site")
    where = f"{where} ({kind} at {printable(site, 80)})"
    _of_type(units, list, "a list of unit indices", f"{where}: units")
    seen: set[int] = set()
    for unit in units:
        if not is_index(unit) or unit >= _LARGEST_INDEX:
            raise UsageError(f"{where}: unit {_shown(unit)} is not an index, expected a whole number from 0")
        if unit in seen:
            raise UsageError(f"{where}: unit {unit} stands twice in units; strike one of the two")
        seen.add(unit)
    return kind, site, units


def _check_declined(entry: Any, where: str) -> None:
    _checked_target(entry, _DECLINED, (*KINDS, *_MIXED), where)
    if not isinstance(entry.get("reason"), str):
        raise UsageError(f"{where}: reason is {_shown(entry.get('reason'))}, expected a sentence")


def _check_weight(weight: Any, where: str) -> None:
    _of_type(weight, Mapping, "an object", f"{where}: weights: an entry")
    refuse_unknown(weight, _WEIGHT, f"{where}: weights: no field")
    shape = weight.get("shape")
    right = (
        _is_text(weight.get("name"))
        and _is_place(weight.get("axis"))
        and isinstance(weight.get("incoming"), bool)
        and (
            shape is None
            or (isinstance(shape, list) and len(shape) <= _MOST_AXES and all(map(is_index, shape)))
        )
        and (weight.get("first", 0) is None or is_index(weight.get("first", 0)))
        and is_index(weight.get("count", 1))
        and weight.get("count", 1) > 0
        and all(_is_place(weight.get(name, 1) or 0) for name in ("first", "count", "stride", "step"))
    )
    if not right:
        raise UsageError(f"{where}: weights: {_shown(dict(weight))} does not say where units lie in a weight")


def _is_text(value: Any) -> bool:
    """Whether it is text that a file or a terminal can hold: JSON can spell halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_size(value: Any) -> bool:
    return is_index(value) and value < _LARGEST_INDEX


def _is_place(value: Any) -> bool:
    """Whether it is a whole number with which places in a tensor can be counted."""
    return type(value) is int and abs(value) < _LARGEST_INDEX


def _check_together(actions: Sequence[Mapping[str, Any]], where: str) -> None:
    """What no single action shows: an id twice, a unit in two actions, a unit merged into one that goes."""
    ids: dict[str, int] = {}
    done: dict[tuple[str, int], Mapping[str, Any]] = {}
    for number, action in enumerate(actions, 1):
        if action["id"] in ids:
            raise UsageError(
                f"{where}: action {number}: the id {printable(action['id'])!r} is that of action "
                f"{ids[action['id']]} too; give it another"
            )
        ids[action["id"]] = number
        for unit in action["units"]:
            other = done.setdefault((action["site"], unit), action)
            if other is not action:
                raise UsageError(
                    f"{where}: unit {unit} of {printable(action['site'], 80)} stands in the actions {_named(other)} "
                    f"and {_named(action)}; strike it from one"
                )
    _check_silence_stays(actions, where)
    for action in actions:
        for target in action["parameters"].get("into", ()) if action["kind"] == "merge" else ():
            by = done.get((action["site"], target))
            if by is not None and by["kind"] in CUTS:
                raise UsageError(
                    f"{where}: action {printable(action['id'])} merges into unit {target} of "
                    f"{printable(action['site'], 80)}, which action {printable(by['id'])} cuts"
                )


def _check_silence_stays(actions: Sequence[Mapping[str, Any]], where: str) -> None:
    """What units are worth that are to go was measured with the activations and signs that the checkpoint has."""
    going = next(
        (action for action in actions if action["kind"] in (*CUTS, "mask") and action["units"]), None
    )
    other = next((action for action in actions if action["kind"] in WHOLE_LAYER), None)
    if going is not None and other is not None:
        raise UsageError(
            f"{where}: {_named(other)} changes what every later layer sees, on which {_named(going)} rests; apply one, "
            "inspect again, then plan the other"
        )


def _named(action: Mapping[str, Any]) -> str:
    return f"{printable(action['id'], 40)} ({action['kind']})"


def _of_type(value: Any, kind: Any, expected: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{where} is {_kind(value)}, expected {expected}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    return "missing" if value is None else printable(repr(value), 80)
