"""The header of a safetensors file, checked before a byte of the tensors is read.

The library checks most of this too, with messages that name no tensor, and it maps the whole file to do so. These
checks refuse all that it refuses, and also what it lets pass: a key that comes twice, and headers that would take
gigabytes of memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from nla.checkpoint.signatures import looks_like
from nla.checkpoint.strict_json import json_object
from nla.errors import ModelError, printable

METADATA = "__metadata__"
LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 64 << 20
"""20 000 tensors with names of two thousand characters; the library itself takes 100 MB."""
MOST_TENSORS = 100_000
"""The largest checkpoints that are published have as many, in a hundred files."""
_LARGEST_SIZE = 2**63 - 1
_MOST_DIMENSIONS = 64
_HEAD_BYTES = 64
BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64},
    **{"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64},
    **{"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
"""Bits of an element, by dtype."""


@dataclass(frozen=True)
class Range:
    """A tensor as the header describes it: `length` bytes from `offset` of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def parse_header(file: BinaryIO, size: int) -> tuple[dict[str, Range], dict[str, str]]:
    """The tensors of an open file of `size` bytes, in the header's order, and its metadata. Raises ModelError."""
    content, start = _header(file, size)
    try:
        return _parsed(content, start, size)
    except ModelError as error:
        raise ModelError(f"not a readable safetensors file: {error}") from None


def _parsed(content: bytes, start: int, size: int) -> tuple[dict[str, Range], dict[str, str]]:
    found = json_object(content)
    metadata = _metadata(found.pop(METADATA, None))
    if len(found) > MOST_TENSORS:
        raise ModelError(f"{len(found):,} tensors; at most {MOST_TENSORS:,} are read")
    tensors = {}
    for name, described in found.items():
        try:
            tensors[name] = _range(described, start, size)
        except ModelError as error:
            raise ModelError(f"tensor '{printable(name)}': {error}") from None
    _check_ranges(tensors, start, size)
    return tensors, metadata


def _header(file: BinaryIO, size: int) -> tuple[bytes, int]:
    """The header's JSON, and where the data starts."""
    head = file.read(_HEAD_BYTES)
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if size < LENGTH_BYTES or length > min(size - LENGTH_BYTES, LARGEST_HEADER_BYTES):
        raise ModelError(_no_header(head, length, size))
    file.seek(LENGTH_BYTES)
    content = file.read(length)
    if len(content) != length:
        raise ModelError("the file was cut short while it was read")
    if not content.startswith(b"{"):
        raise ModelError("not a readable safetensors file: its header does not start with '{'")
    return content, LENGTH_BYTES + length


def _no_header(head: bytes, length: int, size: int) -> str:
    other = looks_like(head)
    if other is not None and "safetensors" not in other:
        return f"not a safetensors file but {other}"
    if size < LENGTH_BYTES:
        return f"not a safetensors file: it has {size} bytes"
    limit = f"at most {LARGEST_HEADER_BYTES:,} are read"
    there = f"the file has {size:,}: it is cut short, or another kind of file"
    why = limit if length <= size else there
    return f"not a safetensors file: its header would have {length:,} bytes, and {why}"


def _metadata(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelError(f"its {METADATA} is no object of strings")
    return found


def _range(described: Any, start: int, size: int) -> Range:
    if not isinstance(described, dict):
        raise ModelError("its entry in the header is no object")
    missing = [key for key in ("dtype", "shape", "data_offsets") if key not in described]
    if missing:
        raise ModelError(f"its entry in the header has no {missing[0]}")
    dtype, shape = described["dtype"], described["shape"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ModelError(f"unknown dtype '{printable(dtype, 60)}'; known are {', '.join(BITS)}")
    sizes = _sizes(shape, "shape")
    if len(sizes) > _MOST_DIMENSIONS or prod(size or 1 for size in sizes) > _LARGEST_SIZE // BITS[dtype]:
        raise ModelError(f"shape {_shown(shape)} is beyond what any file can hold")
    offsets = _sizes(described["data_offsets"], "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelError(f"data_offsets {_shown(offsets)} are no begin and end")
    begin, end = offsets
    if start + end > size:
        raise ModelError(
            f"its data ends at byte {end:,} of the data, and the file has {size - start:,}: the file is cut short"
        )
    bits = prod(sizes) * BITS[dtype]
    if bits != 8 * (end - begin):
        needed = f"{bits // 8:,} bytes" if bits % 8 == 0 else f"{bits:,} bits"
        raise ModelError(f"{dtype} {list(sizes)} takes {needed}, and its range has {end - begin:,} bytes")
    return Range(dtype, tuple(sizes), start + begin, end - begin)


def _sizes(found: Any, what: str) -> list[int]:
    """A list of plain non-negative integers."""
    if not isinstance(found, list):
        raise ModelError(f"its {what} is no list")
    for size in found:
        if type(size) is not int or not 0 <= size <= _LARGEST_SIZE:
            raise ModelError(f"its {what} {_shown(found)} holds what is no size: {printable(size, 40)}")
    return found


def _shown(found: Iterable[Any]) -> str:
    return printable(list(found), 80)


def _check_ranges(tensors: dict[str, Range], start: int, size: int) -> None:
    """The ranges cover the data, one after the other: no byte belongs to two tensors or to none."""
    end, before = start, ""
    for name, found in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].length)):
        if found.offset < end:
            raise ModelError(f"tensors '{printable(before)}' and '{printable(name)}' overlap in the file")
        if found.offset > end:
            raise ModelError(f"{found.offset - end:,} bytes before tensor '{printable(name)}' belong to none")
        end, before = found.offset + found.length, name
    if end != size:
        raise ModelError(f"{size - end:,} bytes at its end belong to no tensor")
