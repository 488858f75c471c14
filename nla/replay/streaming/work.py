"""The work folder of a long replay: hidden states and what the finished stages left, so that a kill costs one stage.

Without a folder, all of it lies in nameless files, which vanish with the process, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from nla.checkpoint import work_folder
from nla.errors import OutputError, printable
from nla.replay.streaming import kept
from nla.replay.streaming.hidden import failed

Array = NDArray[Any]

_SCHEMA = "nla/work/1"


def key_of(values: Mapping[str, Any]) -> str:
    """A digest of everything that decides the numbers: work goes on where it is the same."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


class Work:
    """Files for the hidden states, and what stages left; in `folder`, or nameless."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._nameless: dict[tuple[str, int], BinaryIO] = {}
        self._buffers: dict[int, BinaryIO] = {}

    @property
    def where(self) -> str:
        """The folder, for errors and for the room on its disk."""
        return str(self._folder or tempfile.gettempdir())

    @property
    def resumable(self) -> bool:
        """Whether a later process can go on."""
        return self._folder is not None

    def buffer(self, stage: int, *, fresh: bool) -> BinaryIO:
        """The file of the cut that this stage computes, two for all stages in turn; `fresh`: emptied.

        Raises OutputError.
        """
        place = stage % 2
        try:
            if place not in self._buffers:
                self._buffers[place] = self._opened(f"hidden-{place}.bin")
            if fresh:
                self._buffers[place].truncate(0)
        except OSError as error:
            raise failed(self.where, error) from error
        return self._buffers[place]

    def _opened(self, name: str) -> BinaryIO:
        if self._folder is None:
            return _nameless()
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "r+b", buffering=0)

    def held_bytes(self) -> int:
        """What the buffers take now."""
        if self._folder is None:
            return 0
        return sum(path.stat().st_size for path in self._folder.glob("hidden-*.bin"))

    def put(self, split: str, stage: int, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Keep what a stage left, whole or not at all. Raises OutputError."""
        try:
            if self._folder is None:
                file = _nameless()
                kept.put(file, document, arrays)
                self._nameless[split, stage] = file
                return
            path = self._path(split, stage)
            with path.with_suffix(".part").open("wb") as named:
                kept.put(named, document, arrays)
                os.fsync(named.fileno())
            path.with_suffix(".part").replace(path)
            work_folder.sync(self._folder)
        except OSError as error:
            raise failed(self.where, error) from error

    def get(self, split: str, stage: int) -> tuple[dict[str, Any], dict[str, Array]] | None:
        """What a stage left, mapped; None where it was not finished."""
        try:
            if self._folder is None:
                return kept.take(self._nameless[split, stage])
            with self._path(split, stage).open("rb") as file:
                return kept.take(file)
        except (KeyError, OSError, ValueError):
            return None

    def finished(self, split: str, count: int) -> int:
        """How many of the split's stages an earlier process finished: all from the first on, or none.

        Where what one of them left cannot be read, the hidden states that it was made from are gone by now, and the
        split begins anew. Splits come in the order of their names.
        """
        done = next((k for k in range(count) if self.get(split, k) is None), count)
        if self._folder is None or done == count:
            return done
        places = {path: path.stem.rsplit("-", 1) for path in self._folder.glob("*.stage")}
        odd = any((name == split and int(k) >= done) or name > split for name, k in places.values())
        for path, (name, _) in places.items():
            if odd and name >= split:
                path.unlink()
        return 0 if odd else done

    def _path(self, split: str, stage: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{split}-{stage:05}.stage"

    def close(self) -> None:
        """Close all files; nameless ones are gone then, but for what is still mapped."""
        for file in (*self._buffers.values(), *self._nameless.values()):
            with suppress(OSError):
                file.close()


def _nameless() -> BinaryIO:
    """A file that is gone with the last who has it open."""
    return tempfile.TemporaryFile(prefix="nla-")


@contextmanager
def opened(folder: Path | None, key: str) -> Iterator[Work]:
    """The work folder, made where it is not there, emptied where it belongs to other work.

    It is left when the work is done, for whoever writes the output to remove (`work_folder.remove_work`).
    Raises OutputError: it cannot be made, is something else, or another process works in it.
    """
    work = Work(folder)
    try:
        if folder is None:
            yield work
            return
        with work_folder.claimed(folder):
            _begin(folder, key)
            yield work
    finally:
        work.close()


def _begin(folder: Path, key: str) -> None:
    """Make sure that the folder holds work of this key, and no other."""
    state = folder / work_folder.STATE
    with suppress(OSError, ValueError):
        found = json.loads(state.read_bytes()[:4096])
        if found == {"schema": _SCHEMA, "key": key}:
            return
    try:
        work_folder.clear(folder)
        state.write_text(json.dumps({"schema": _SCHEMA, "key": key}) + "\n")
    except OSError as error:
        raise OutputError(
            f"cannot write {printable(state)}: {(error.strerror or str(error)).lower()}"
        ) from error
