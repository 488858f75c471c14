"""sha256 digests, computed in pieces so that no file is held whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import BinaryIO

_PIECE_BYTES = 1 << 20


def file_digest(file: BinaryIO, on_bytes: Callable[[int], None] | None = None) -> str:
    """sha256 of what is left to read of `file`, in hexadecimal; `on_bytes` is told of every piece's size.

    >>> import io
    >>> file_digest(io.BytesIO(b"abc"))[:16]
    'ba7816bf8f01cfea'
    """
    digest = hashlib.sha256()
    buffer = bytearray(_PIECE_BYTES)
    view = memoryview(buffer)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(view[:count])
        if on_bytes is not None:
            on_bytes(count)
    return digest.hexdigest()


def checkpoint_digest(model: str, external: Iterable[tuple[str, str]]) -> str:
    """One digest for a model file and its external files.

    Without external files it is the model file's own sha256, the one that `sha256sum` prints. With them it is
    the sha256 of the lines "digest  location", the model first (its location empty), the others sorted.
    """
    others = sorted(external)
    if not others:
        return model
    lines = [f"{model}  \n", *(f"{digest}  {location}\n" for location, digest in others)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
