"""safetensors files whose header was spoilt: by hand, one fault each, and by chance, for a fuzz of the reader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from safetensors.numpy import save

Header = dict[str, Any]
GOOD = save(
    {
        "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(5, dtype=np.int64),
        "größe": np.zeros((0, 3), np.float16),
        "scalar": np.array(2.5, np.float64),
        "mask": np.array([True, False, True]),
    },
    {"format": "pt", "note": "x"},
)
"""A file in which nothing is wrong."""


def split(content: bytes) -> tuple[bytes, bytes]:
    """The header and the data."""
    start = 8 + int.from_bytes(content[:8], "little")
    return content[8:start], content[start:]


def file_of(header: bytes, data: bytes) -> bytes:
    """A file with this header."""
    return len(header).to_bytes(8, "little") + header + data


def changed(change: Callable[[Header], object], content: bytes = GOOD) -> bytes:
    """The file with its header changed."""
    header, data = split(content)
    found = json.loads(header)
    change(found)
    return file_of(json.dumps(found).encode(), data)


def text(old: bytes, new: bytes) -> bytes:
    """The file with a part of its header's text replaced."""
    header, data = split(GOOD)
    assert old in header
    return file_of(header.replace(old, new, 1), data)


def _begin(found: Header, name: str) -> int:
    begin: int = found[name]["data_offsets"][0]
    return begin


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a safetensors file but an empty file"),
    "seven bytes": (GOOD[:7], "it has 7 bytes"),
    "git-LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n",
        "a git-LFS pointer, not the model itself; run `git lfs pull`",
    ),
    "PyTorch zip": (b"PK\x03\x04" + bytes(99), "a zip archive"),
    "HTML page": (b"<!DOCTYPE html><html>" + b" " * 99, "an HTML page"),
    "header longer than the file": ((1 << 40).to_bytes(8, "little") + GOOD[8:], "1,099,511,627,776 bytes"),
    "header of 2^64 - 1 bytes": (b"\xff" * 8 + GOOD[8:], "would have 18,446,744,073,709,551,615 bytes"),
    "cut in the header": (GOOD[:40], "it is cut short, or another kind of file"),
    "cut in the data": (GOOD[:-1], "the file is cut short"),
    "data added": (GOOD + b"\0", "1 bytes at its end belong to no tensor"),
    "an empty header": (file_of(b"", b""), "does not start with '{'"),
    "not JSON": (file_of(b"{" + b"x" * 50, b""), "not valid JSON"),
    "a list": (file_of(b"[]", b""), "does not start with"),
    "UTF-16": (file_of("{}".encode("utf-16-le"), b""), "not valid JSON|does not start"),
    "byte order mark": (file_of(b"\xef\xbb\xbf{}", b""), "does not start with"),
    "not UTF-8": (text("ö".encode(), b"\xff"), "not UTF-8 at byte"),
    "two objects": (file_of(b"{}{}", b""), "not valid JSON"),
    "nested 50 000 deep": (file_of(b'{"a":' + b"[" * 50_000, b""), "nested too deep"),
    "a name twice": (text(b'"b":', b'"scalar":'), "the key 'scalar' comes twice"),
    "a dtype twice": (
        text(b'{"dtype":"I64"', b'{"dtype":"I64","dtype":"I64"'),
        "the key 'dtype' comes twice",
    ),
    "NaN": (text(b"[5]", b"[NaN]"), "NaN is no JSON number"),
    "half a surrogate pair": (text(b'"b":', b'"\\ud800":'), "half a surrogate pair"),
    "metadata of numbers": (
        changed(lambda h: h["__metadata__"].update(note=3)),
        "__metadata__ is no object of strings",
    ),
    "metadata a list": (changed(lambda h: h.update(__metadata__=[])), "__metadata__ is no object of strings"),
    "entry a list": (changed(lambda h: h.update(b=[])), "tensor 'b': its entry in the header is no object"),
    "no shape": (changed(lambda h: h["b"].pop("shape")), "tensor 'b': its entry in the header has no shape"),
    "unknown dtype": (changed(lambda h: h["b"].update(dtype="Q4_K")), "tensor 'b': unknown dtype 'Q4_K'"),
    "dtype an escape": (changed(lambda h: h["b"].update(dtype="\x1b[31m")), r"unknown dtype '\\x1b\[31m'"),
    "dtype a number": (changed(lambda h: h["b"].update(dtype=7)), "unknown dtype '7'"),
    "shape disagrees": (changed(lambda h: h["b"].update(shape=[3, 3])), "'b': I64 .3, 3. takes 72 bytes"),
    "dtype disagrees": (changed(lambda h: h["b"].update(dtype="I32")), "'b': I32 .5. takes 20 bytes, and"),
    "half a byte": (changed(lambda h: h["mask"].update(dtype="F4", shape=[5])), "takes 20 bits"),
    "negative size": (changed(lambda h: h["b"].update(shape=[-1, -5])), "holds what is no size: -1"),
    "a size of true": (changed(lambda h: h["b"].update(shape=[5, True])), "holds what is no size: True"),
    "a size of 5.0": (changed(lambda h: h["b"].update(shape=[5.0])), "holds what is no size: 5.0"),
    "a size of -0": (text(b"[0,3]", b"[-0,3]"), "holds what is no size: -0.0"),
    "a size of 10^30": (changed(lambda h: h["b"].update(shape=[10**30])), "holds what is no size"),
    "a number of 5 000 digits": (text(b"[5]", b"[" + b"5" * 5000 + b"]"), "a number of 5,000 digits"),
    "sizes that overflow": (changed(lambda h: h["b"].update(shape=[2**40, 2**40])), "beyond what any file"),
    "empty and immense": (changed(lambda h: h["größe"].update(shape=[2**40, 0, 2**40])), "beyond what any"),
    "1 000 dimensions": (changed(lambda h: h["scalar"].update(shape=[1] * 1000)), "beyond what any file"),
    "shape a number": (changed(lambda h: h["b"].update(shape=5)), "its shape is no list"),
    "range outside": (
        changed(lambda h: h["b"].update(data_offsets=[0, 1 << 40])),
        "'b': its data ends at byte 1,099,511,627,776 of the data, and the file has",
    ),
    "range backwards": (
        changed(lambda h: h["b"]["data_offsets"].reverse()),
        "data_offsets .* are no begin and end",
    ),
    "three offsets": (changed(lambda h: h["b"]["data_offsets"].append(0)), "are no begin and end"),
    "offsets null": (changed(lambda h: h["b"].update(data_offsets=None)), "its data_offsets is no list"),
    "overlapping": (
        changed(lambda h: h["mask"].update(data_offsets=[_begin(h, "mask") - 1, _begin(h, "mask") + 2])),
        "overlap in the file",
    ),
    "the same range twice": (changed(lambda h: h.update(other=h["b"])), "'b' and 'other' overlap"),
    "a hole": (changed(lambda h: h.pop("b")), "40 bytes before tensor .* belong to none|belong to no tensor"),
    "two million numbers": (
        file_of(b'{"a":[' + b"0," * 2_000_000 + b"0]}", b""),
        "JSON list 2,000,00. things",
    ),
    "two million lists": (
        file_of(b'{"a":[' + b"[],[]," * 500_000 + b"0]}", b""),
        "JSON list 2,000,00. things",
    ),
}
"""By fault: the file, and a pattern of what is said of it."""


def spoilt(count: int, seed: int) -> Iterator[bytes]:
    """Files like GOOD with a change or two of bytes, of JSON values, or of the order and number of its parts."""
    rng = random.Random(seed)
    for _ in range(count):
        content = GOOD
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = rng.choice((_bytes, _values, _values, _tokens))(content, rng)
        yield content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, left out, or put in, most of them in the header."""
    at = rng.randrange(min(len(content), 500) or 1)
    kind = rng.randrange(4)
    if kind == 0:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if kind == 1:
        return content[:at] + content[at + rng.randrange(1, 9) :]
    if kind == 2:
        return content[: rng.randrange(len(content) + 1)]
    return content[:at] + rng.randbytes(rng.randrange(1, 9)) + content[at:]


_ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 5, 8, 40, 48, 88, 2**31, 2**63 - 1, 2**63, 2**64, 10**25, 0.0, 1.5, 1e300),
    *(None, True, False, "", "F32", "I64", "BF16", "F8_E4M3", "F4", "C64", "U8", "pt", "\x00", "\ud800", "é"),
    *([], [0], [1, 1], [0, 0], [0, 48], [3, 4], [2, 2**62], {}, {"a": 1}, [[[]]], {"dtype": "F32"}),
)
_KEYS = ("b", "a.weight", "new", "", "__metadata__", "dtype", "shape", "data_offsets", "\n", "format")


def _values(content: bytes, rng: random.Random) -> bytes:
    """A value somewhere in the header's tree changed, taken out, or put in."""
    try:
        header, data = split(content)
        found = json.loads(header)
    except ValueError:
        return content
    holder = found
    while isinstance(holder, dict | list) and holder and rng.random() < 0.8:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        inner = holder[rng.choice(keys)]
        if not isinstance(inner, dict | list):
            break
        holder = inner
    _change(holder, rng)
    text = json.dumps(found, ensure_ascii=rng.random() < 0.5)
    return file_of(text.encode("utf-8", "surrogatepass"), data)


def _change(holder: Any, rng: random.Random) -> None:
    value = rng.choice(_ODD)
    if isinstance(holder, dict):
        keys = [*holder, rng.choice(_KEYS)]
        key = rng.choice(keys)
        if rng.random() < 0.2:
            holder.pop(key, None)
        else:
            holder[key] = holder.get(rng.choice(keys), value) if rng.random() < 0.3 else value
    elif isinstance(holder, list):
        at = rng.randrange(len(holder) + 1)
        holder[at : at + rng.randrange(2)] = [value] * rng.randrange(3)


_TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"-",
        b"0",
        b"1",
        b"9",
        b".",
        b"e5",
        b" ",
        b"\n",
        b"\t",
        b"\x00",
    ),
    *(b"null", b"true", b"NaN", b"Infinity", b"-0", b"\\u0000", b"\\ud800", b"\\", b"00", b"1e400", b"\xff"),
    *(
        b'"b":{"dtype":"I64","shape":[0],"data_offsets":[0,0]},',
        b'"dtype":"F32",',
        b'"x":1,',
        b"\x0c",
        b"/*x*/",
    ),
)


def _tokens(content: bytes, rng: random.Random) -> bytes:
    """A piece of JSON put into the header's text at a place where a piece may stand, or in the place of one."""
    header, data = split(content)
    at = rng.randrange(len(header) + 1)
    after = at + rng.choice((0, 0, 1, 2))
    return file_of(header[:at] + rng.choice(_TOKENS) + header[after:], data)
