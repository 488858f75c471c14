"""A manifest of steps: which file is which training step, where names do not tell.

It is a CSV with the header `path,step` or `path,step,label`, a JSON list of objects with these members, or the
`training_status.json` that ML-Agents leaves beside its checkpoints. Paths are relative to the manifest's folder.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from nla.errors import RecordingError, UsageError, one_line, printable
from nla.runs.reading import json_value, read_small

_LARGEST_BYTES = 16 << 20
_LARGEST_STEP = 2**53
_MOST = 100_000
_COLUMNS = ("path", "step", "label")
_EXPECTED = "expected CSV with the header path,step or path,step,label, or a JSON list of such objects"


@dataclass(frozen=True)
class Step:
    """One row of the manifest."""

    path: str
    step: int
    label: str | None = None


def read_steps(path: str | os.PathLike[str]) -> tuple[Step, ...]:
    """The rows of a manifest, sorted by step.

    Of ML-Agents' status the checkpoints that are there are listed, whichever folder they were written to.

    Raises:
        UsageError: a file that cannot be read, or is no manifest; the message names the line or row.
    """
    place = Path(path)
    try:
        content = read_small(place, _LARGEST_BYTES)
        if content.lstrip()[:1] in (b"[", b"{"):
            steps = _of_json(json_value(content), place)
        else:
            steps = _of_csv(content, place.parent)
    except RecordingError as error:
        said = str(error)
        named = said if said.startswith(printable(place)) else f"{printable(place)}: {said}"
        raise UsageError(named) from None
    except UsageError as error:
        raise UsageError(f"{printable(place)}: {error}") from None
    return tuple(sorted(steps, key=lambda each: each.step))


def _of_csv(content: bytes, folder: Path) -> list[Step]:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if tuple(header) not in (_COLUMNS, _COLUMNS[:2]):
            raise UsageError(f"line 1 is {one_line(','.join(header), 60) or 'empty'}; {_EXPECTED}")
        return _all(_csv_rows(reader, header), folder)
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 at byte {error.start:,}; {_EXPECTED}") from None
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num}: {one_line(error, 100)}") from None


def _csv_rows(reader: Any, header: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in reader:
        if not row:
            continue
        where = f"line {reader.line_num}"
        if len(row) != len(header):
            raise UsageError(f"{where} has {len(row)} values, expected {len(header)}: {','.join(header)}")
        about: dict[str, Any] = dict(zip(header, (value.strip() for value in row), strict=True))
        digits = about["step"]
        about["step"] = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else digits
        about["label"] = about.get("label") or None
        yield where, about


def _of_json(value: Any, place: Path) -> list[Step]:
    if isinstance(value, dict):
        return _of_status(value, place.parent)
    rows = []
    for k, about in enumerate(value):
        if not isinstance(about, dict) or not {"path", "step"} <= about.keys() <= set(_COLUMNS):
            raise UsageError(f"row {k + 1} of the list is no object with path, step and perhaps label")
        rows.append((f"row {k + 1}", about))
    return _all(iter(rows), place.parent)


def _all(rows: Iterator[tuple[str, dict[str, Any]]], folder: Path) -> list[Step]:
    """The rows, each checked; no path, label or step twice. Raises UsageError."""
    made: list[Step] = []
    seen: dict[tuple[str, Any], str] = {}
    for where, about in rows:
        step = _step(about, folder, where)
        for name, value in (("path", step.path), ("step", step.step), ("label", step.label)):
            if value is not None and (name, value) in seen:
                shown = one_line(about[name], 60)
                raise UsageError(f"{where}: the {name} {shown} is that of {seen[name, value]} too")
            seen[name, value] = where
        made.append(step)
        if len(made) > _MOST:
            raise UsageError(f"more than {_MOST:,} rows")
    if not made:
        raise UsageError(f"it has no row; {_EXPECTED}")
    return made


def _step(about: Mapping[str, Any], folder: Path, where: str) -> Step:
    path, step, label = about["path"], about["step"], about.get("label")
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"{where}: path is {one_line(repr(path)[:100], 60)}, expected the name of a file")
    if type(step) is not int or not 0 <= step < _LARGEST_STEP:
        raise UsageError(
            f"{where}: step is {one_line(repr(step)[:100], 60)}, expected a whole number from 0 on"
        )
    if label is not None and (not isinstance(label, str) or not label):
        raise UsageError(f"{where}: label is {one_line(repr(label)[:100], 60)}, expected text")
    return Step(os.path.normpath(folder / path), step, label)


def _of_status(status: Mapping[str, Any], folder: Path) -> list[Step]:
    """The checkpoints of ML-Agents' status that are there, by their names: it names paths of the training machine."""
    found: dict[str, Step] = {}
    listed, networks = 0, []
    for behaviour, about in status.items():
        checkpoints = about.get("checkpoints") if isinstance(about, dict) else None
        if not isinstance(checkpoints, list) or not checkpoints:
            continue
        networks.append(printable(behaviour, 60))
        for each in checkpoints:
            listed += 1
            path, step = (
                (each.get("file_path"), each.get("steps")) if isinstance(each, dict) else (None, None)
            )
            if (
                not isinstance(path, str)
                or "\0" in path
                or type(step) is not int
                or not 0 <= step < _LARGEST_STEP
            ):
                raise UsageError(f"checkpoint {listed} has no file_path and steps as ML-Agents writes them")
            there = _where(folder, behaviour, PureWindowsPath(path).name)
            if there is not None:
                found[there] = Step(there, step)
    if not listed:
        raise UsageError(f"JSON that lists no checkpoints; {_EXPECTED}, or ML-Agents' training_status.json")
    if len(networks) > 1:
        raise UsageError(
            f"it lists checkpoints of {len(networks)} networks ({', '.join(networks[:3])}): name the files"
        )
    if not found:
        raise UsageError(f"none of the {listed} checkpoints that it lists is here, or in a folder beside it")
    return list(found.values())


def _where(folder: Path, behaviour: str, name: str) -> str | None:
    """The checkpoint, beside the status or where ML-Agents keeps it, if it is there."""
    inner = PureWindowsPath(behaviour).name
    places = (folder / name, folder / inner / name, folder.parent / inner / name, folder.parent / name)
    return next((os.path.normpath(place) for place in places if name and place.is_file()), None)
