"""Protobuf messages in pieces: a model is written tensor by tensor, and never held in memory as one string.

A message holds its fields in the order of their numbers, unknown ones last, as protobuf itself writes them: what
is put together here is, byte for byte, what `SerializeToString(deterministic=True)` gives for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import Message  # type: ignore[import-untyped]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from numpy.typing import NDArray

Buffer = bytes | memoryview
_DELIMITED = 2
_VARINT_CHUNK = 1 << 16


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file: how many, and how to get them when their turn comes."""

    length: int
    read: Callable[[], Iterable[Buffer]]

    def checked(self) -> Iterator[Buffer]:
        """The bytes, counted: a piece of another length would shift everything behind it."""
        count = 0
        for part in self.read():
            count += len(part)
            yield part
        if count != self.length:
            raise AssertionError(f"a piece of {self.length} bytes gave {count}")


def ready(content: bytes) -> Piece:
    """A piece that is there already."""
    return Piece(len(content), lambda: (content,))


def serialised(message: Message) -> bytes:
    """The message's bytes, the same at each call."""
    return bytes(message.SerializeToString(deterministic=True))


def varint(number: int) -> bytes:
    r"""A number as protobuf writes it.

    >>> varint(1), varint(300)
    (b'\x01', b'\xac\x02')
    """
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(numbers: NDArray[Any]) -> bytes:
    r"""Integers in a row, as packed fields hold them; negative ones take ten bytes.

    >>> varints(np.array([1, 300]))
    b'\x01\xac\x02'
    """
    flat = numbers.reshape(-1).astype(np.int64, copy=False).view(np.uint64)
    parts = (flat[at : at + _VARINT_CHUNK] for at in range(0, flat.size, _VARINT_CHUNK))
    return b"".join(_varints(part) for part in parts)


def _varints(numbers: NDArray[np.uint64]) -> bytes:
    """Ten places for each number, seven bits a place; those after its highest bit are left out."""
    shifted = numbers[:, None] >> np.arange(0, 70, 7, dtype=np.uint64)
    shifted[:, 9] = numbers >> np.uint64(63)
    more = np.zeros(shifted.shape, bool)
    more[:, :-1] = shifted[:, 1:] != 0
    used = np.ones(shifted.shape, bool)
    used[:, 1:] = more[:, :-1]
    coded = (shifted & np.uint64(127)).astype(np.uint8) | (more.astype(np.uint8) << 7)
    return bytes(coded[used].tobytes())


def opening(field: int, length: int) -> bytes:
    """What stands before the content of a field that says its length."""
    return varint(field << 3 | _DELIMITED) + varint(length)


def within(path: Sequence[tuple[Message, int]], content: Piece) -> list[Piece]:
    """The first message of `path`, with the rest of the path in its field, and `content` in the last one's.

    Each message is given with the number of the field that is to be filled, which is empty in it.
    """
    before, after = b"", b""
    for message, field in reversed(path):
        head, tail = apart(message, field)
        before = head + opening(field, len(before) + content.length + len(after)) + before
        after += tail
    return [ready(before), content, ready(after)]


def apart(message: Message, field: int) -> tuple[bytes, bytes]:
    """The bytes of the fields below and above a number."""
    below, above = type(message)(), type(message)()
    for descriptor, value in message.ListFields():
        if descriptor.number != field:
            _put(below if descriptor.number < field else above, descriptor.name, value)
    return serialised(below), serialised(above) + unknown(message)


def without(message: Message, *fields: str) -> Any:
    """A copy of the message without some of its fields, which are not read: they may be large."""
    copy = type(message)()
    for descriptor, value in message.ListFields():
        if descriptor.name not in fields:
            _put(copy, descriptor.name, value)
    copy.MergeFromString(unknown(message))
    return copy


def _put(message: Message, name: str, value: Any) -> None:
    if isinstance(value, Message):
        getattr(message, name).CopyFrom(value)
    elif hasattr(value, "extend"):
        getattr(message, name).MergeFrom(value)
    else:
        setattr(message, name, value)


def unknown(message: Message) -> bytes:
    """The fields that this release of onnx does not know: they stay as they were."""
    return b"".join(_unknown(field) for field in UnknownFieldSet(message))


def _unknown(field: Any) -> bytes:
    number, kind, data = field.field_number, field.wire_type, field.data
    start = varint(number << 3 | kind)
    if kind == 0:
        return start + varint(data)
    if kind in (1, 5):
        return start + int(data).to_bytes(8 if kind == 1 else 4, "little")
    if kind == _DELIMITED:
        return start + varint(len(data)) + bytes(data)
    return start + b"".join(_unknown(inner) for inner in data) + varint(number << 3 | 4)
