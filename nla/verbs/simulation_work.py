"""The work file of a simulation: the sums so far, so that an interrupted run goes on where it was."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.checkpoint.atomic import atomic_write, check_output
from nla.errors import Interrupted, UsageError, printable
from nla.theory.simulation.running import Sums
from nla.theory.simulation.settings import Settings
from nla.verbs.parcel import StrPath

_SECONDS = 10.0
_VERSION = 1
_OVERHEAD = 4096
"""Bytes that a header of .npy and an entry of a zip take, at most."""

Arrays = dict[str, NDArray[Any]]


class Work:
    """The sums of a simulation and the file that keeps them; without a path they are kept nowhere."""

    def __init__(self, settings: Settings, path: StrPath | None) -> None:
        """Begin, or go on from the file. Raises UsageError where it is of another simulation, OutputError."""
        self.sums = tuple(map(Sums.empty, settings.tasks()))
        self._path = None if path is None else Path(path)
        self._key = json.dumps({"version": _VERSION, **settings.to_dict()}).encode()
        self._saved = time.monotonic()
        if self._path is not None:
            check_output(self._path)
            if self._path.is_file():
                self._load(self._path)

    def save_now_and_then(self) -> None:
        """Write the file, at most every ten seconds."""
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file whole or not at all. Raises OutputError."""
        if self._path is None:
            return
        content = io.BytesIO()
        np.savez(content, **self._arrays())  # type: ignore[arg-type]
        atomic_write(self._path, content.getvalue())
        self._saved = time.monotonic()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The file is written when the work ends, and also when it ends early, which then says so."""
        try:
            yield
        except (KeyboardInterrupt, Interrupted) as error:
            if self._path is None:
                raise
            self.save()
            kept = f"the work so far is kept in {printable(self._path)}: the same command goes on from there"
            raise Interrupted(f"interrupted; {kept}") from error
        self.save()

    def _arrays(self) -> Arrays:
        made: Arrays = {"key": np.frombuffer(self._key, np.uint8)}
        for at, each in enumerate(self.sums):
            counts, done = each.known
            made.update({f"counts/{at}": counts, f"done/{at}": done, f"variances/{at}": each.variances})
        return made

    def _load(self, path: Path) -> None:
        """The file's sums, if it is of this simulation. Raises UsageError."""
        wanted = self._arrays()
        what = f"{printable(path)} is no work file of this simulation"
        try:
            with zipfile.ZipFile(path) as archive:
                sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            right = sizes.keys() == wanted.keys() and all(
                sizes[name] <= array.nbytes + _OVERHEAD for name, array in wanted.items()
            )
            found: Arrays = {}
            if right:
                with np.load(path, allow_pickle=False) as stored:
                    found = {name: stored[name] for name in wanted}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise UsageError(f"{what}: it cannot be read; name another file, or delete it") from error
        same = all(
            found[name].shape == array.shape and found[name].dtype == array.dtype
            for name, array in (wanted if right else {}).items()
        )
        if not right or not same or found["key"].tobytes() != self._key:
            raise UsageError(
                f"{what}: its settings are others; repeat the command that began it, name another file, or delete it"
            )
        for at, each in enumerate(self.sums):
            each.known = found[f"counts/{at}"], found[f"done/{at}"]
            each.variances = found[f"variances/{at}"]
