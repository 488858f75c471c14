"""PDF files made the same for the same figure: what draws them writes resources in an order left to chance."""

from __future__ import annotations

import re

_REFERENCE = re.compile(rb"(\d+) 0 R")
_OBJECT = re.compile(rb"(\d+) 0 obj\n(.*)endobj\s*\Z", re.DOTALL)
_ENTRIES = re.compile(rb"(?:^ */\w+ \d+ 0 R\n){2,}", re.MULTILINE)


def settled(drawn: bytes) -> bytes:
    """The same document with its objects in the order in which they are met from its root, and resources by name.

    `drawn` is a PDF of version 1.7 with one plain table of references (ISO 32000-1, 7.5.4); what is built otherwise is
    given back as it is.
    """
    objects = _objects(drawn)
    trailer = drawn[drawn.rfind(b"trailer") : drawn.rfind(b"startxref")]
    if objects is None or not trailer:
        return drawn
    settled_objects = {
        number: (_ENTRIES.sub(_by_name, head), stream) for number, (head, stream) in objects.items()
    }
    order = _met(trailer, settled_objects)
    if set(order) != set(objects):
        return drawn
    return _written(drawn[: drawn.find(b"\n", 9) + 1], settled_objects, order, trailer)


def _objects(drawn: bytes) -> dict[int, tuple[bytes, bytes]] | None:
    """By number, what an object says and the stream that follows, sliced by the table of references; None: no table."""
    start = drawn.rfind(b"\nxref\n") + 1
    lines = drawn[start : drawn.rfind(b"trailer")].split(b"\n")[2:]
    if start == 0:
        return None
    offsets = sorted(int(line[:10]) for line in lines if line[17:18] == b"n")
    found = {}
    for first, end in zip(offsets, [*offsets[1:], start], strict=True):
        met = _OBJECT.match(drawn[first:end])
        if met is None:
            return None
        head, mark, stream = met[2].partition(b"\nstream\n")
        found[int(met[1])] = (head, mark + stream)
    return found


def _by_name(entries: re.Match[bytes]) -> bytes:
    """Neighbours in a dictionary, whose order says nothing."""
    return b"".join(sorted(entries[0].splitlines(keepends=True)))


def _met(trailer: bytes, objects: dict[int, tuple[bytes, bytes]]) -> dict[int, int]:
    """New numbers by old ones, in the order in which references are met."""
    order: dict[int, int] = {}
    waiting = [int(number) for number in _REFERENCE.findall(trailer)]
    while waiting:
        number = waiting.pop(0)
        if number in order or number not in objects:
            continue
        order[number] = len(order) + 1
        waiting += [int(each) for each in _REFERENCE.findall(objects[number][0])]
    return order


def _written(
    head: bytes, objects: dict[int, tuple[bytes, bytes]], order: dict[int, int], trailer: bytes
) -> bytes:
    def renumbered(text: bytes) -> bytes:
        return _REFERENCE.sub(lambda found: b"%d 0 R" % order[int(found[1])], text)

    made, table = bytearray(head), bytearray(b"0000000000 65535 f\r\n")
    for old, new in order.items():
        said, stream = objects[old]
        table += b"%010d 00000 n\r\n" % len(made)
        made += b"%d 0 obj\n%s%sendobj\n\n" % (new, renumbered(said), stream)
    start = len(made)
    made += b"xref\n0 %d\n%s%sstartxref\n%d\n%%%%EOF" % (len(order) + 1, table, renumbered(trailer), start)
    return bytes(made)
