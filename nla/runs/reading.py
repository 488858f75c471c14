"""Files of runs: what kind a file is, and a stranger's JSON, read strictly and with a ceiling on its size."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from typing import Any, BinaryIO

from nla.errors import RecordingError, one_line, printable

LARGEST_BYTES = 1 << 30
_MOST_THINGS = 40_000_000
"""Commas and opening brackets: what stands at each may take a hundred bytes of memory. A neuron's row has 22."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
EXPECTED = "expected a recording (nla inspect -o) or an inspection as JSON (nla inspect --json)"


def is_recording(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as HDF5 does.

    Raises:
        RecordingError: it cannot be read, or is no regular file.
    """
    with _opened(path) as file:
        return file.read(len(_HDF5)) == _HDF5


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file: no key twice, no NaN, no half of a surrogate pair, at most 1 GiB.

    Raises:
        RecordingError: it cannot be read, or holds anything else; the message begins with the path.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_BYTES:
            raise RecordingError(
                f"{printable(path)} has {size:,} bytes, and at most {LARGEST_BYTES:,} are read; write it without a row "
                "for each neuron, or give the recording"
            )
        content = file.read(LARGEST_BYTES + 1)
    try:
        return json_object(content)
    except RecordingError as error:
        raise RecordingError(f"{printable(path)}: {error}") from None


def read_small(path: str | os.PathLike[str], largest_bytes: int) -> bytes:
    """The whole content of a file of at most so many bytes. Raises RecordingError."""
    with _opened(path) as file:
        content = file.read(largest_bytes + 1)
    if len(content) > largest_bytes:
        raise RecordingError(f"{printable(path)} has more than {largest_bytes:,} bytes")
    return content


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises RecordingError: what is wrong, and where.

    >>> json_object(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    nla.errors.RecordingError: the key 'a' comes twice in one object, and readers differ on which counts
    """
    value = json_value(content)
    if not isinstance(value, dict):
        raise RecordingError(f"its JSON is no object; {EXPECTED}")
    return value


def json_value(content: bytes) -> Any:
    """What the bytes are in strict JSON. Raises RecordingError."""
    if not content.strip(b" \t\r\n"):
        raise RecordingError(f"an empty file; {EXPECTED}")
    things = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if things > _MOST_THINGS:
        raise RecordingError(f"its JSON lists {things:,} things, and at most {_MOST_THINGS:,} are read")
    try:
        value = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_constant)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RecordingError("it spells half a surrogate pair, which is no text") from None
    except UnicodeDecodeError as error:
        raise RecordingError(f"neither HDF5 nor JSON in UTF-8 (byte {error.start:,}); {EXPECTED}") from None
    except RecursionError:
        raise RecordingError("its JSON is nested too deep") from None
    except json.JSONDecodeError as error:
        if not content.lstrip(b" \t\r\n").startswith((b"{", b"[")):
            raise RecordingError(f"neither HDF5 nor JSON; {EXPECTED}") from None
        said = f"line {error.lineno}, column {error.colno}"
        raise RecordingError(
            f"not valid JSON; is it truncated? ({one_line(error.msg, 100)}: {said})"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise RecordingError(f"not valid JSON: {one_line(error, 200)}") from None
    return value


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """The regular file. Not to hang on a pipe, it is opened without waiting and looked at first."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RecordingError(f"{printable(path)}: {(error.strerror or one_line(error)).lower()}") from None
    except ValueError:
        raise RecordingError(f"{printable(path)}: the path holds a NUL character") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordingError(f"{printable(path)} is a folder or device; {EXPECTED}")
    return os.fdopen(descriptor, "rb")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise RecordingError(
            f"the key '{printable(twice, 60)}' comes twice in one object, and readers differ on which counts"
        )
    return found


def _constant(text: str) -> Any:
    raise RecordingError(f"{text} is no JSON number")
