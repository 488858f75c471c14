"""Outputs of several files, made and tried in a folder of their own beside their place, then renamed into it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nla.checkpoint.atomic import check_output
from nla.errors import OutputError, printable

StrPath = str | os.PathLike[str]


class Staged:
    """A folder beside an output, in which it is made under its final name."""

    def __init__(self, target: Path, folder: Path, sources: tuple[StrPath, ...]) -> None:
        self.target = target
        """Where it goes in the end."""
        self._folder = folder
        self._sources = sources

    @property
    def path(self) -> Path:
        """Where to write."""
        return self._folder / self.target.name

    def take(self, model: StrPath) -> None:
        """Move a model of the same name, with the files beside it, here from a folder that holds nothing else.

        Raises OutputError.
        """
        for path in Path(model).parent.iterdir():
            try:
                shutil.move(path, self._folder / path.name)
            except OSError as error:
                raise OutputError(
                    f"cannot write {printable(self.target)}: {(error.strerror or str(error)).lower()}"
                ) from error

    def keep(self, sources: Iterable[StrPath] = ()) -> None:
        """As `keep_all`, of this output alone."""
        keep_all([self], sources)

    def places(self, sources: Iterable[StrPath]) -> list[tuple[Path, Path]]:
        """(what was made, where it goes), the file itself last: it is what makes the others count.

        Raises OutputError where one cannot go there, or is a source.
        """
        made = sorted(self._folder.iterdir(), key=lambda path: path == self.path)
        pairs = [(path, self.target.parent / path.name) for path in made]
        for _, place in pairs:
            check_output(place, sources=(*self._sources, *sources))
        return pairs


def keep_all(outputs: Iterable[Staged], sources: Iterable[StrPath] = ()) -> None:
    """Rename what was made into its place, output by output.

    Nothing is renamed where one of the names is that of a source, or of another output. Raises OutputError.
    """
    read = tuple(sources)
    pairs = [pair for each in outputs for pair in each.places(read)]
    taken: set[str] = set()
    for _, place in pairs:
        if os.path.realpath(place) in taken:
            raise OutputError(f"cannot write {printable(place)}: two outputs bear this name")
        taken.add(os.path.realpath(place))
    for path, place in pairs:
        try:
            os.replace(path, place)
        except OSError as error:
            raise OutputError(
                f"cannot write {printable(place)}: {(error.strerror or str(error)).lower()}"
            ) from error


@contextmanager
def staged(target: StrPath, sources: Iterable[StrPath] = ()) -> Iterator[Staged]:
    """A place to make `target` in, gone with all that is left in it when the context ends.

    Raises OutputError where `target` cannot be written, is no regular file, or is one of `sources`.
    """
    given = tuple(sources)
    check_output(target, sources=given)
    path = Path(target)
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {printable(path)}: it is a device or a pipe; name a regular file")
    folder = path.parent / f".nla-{secrets.token_hex(8)}"
    try:
        folder.mkdir()
        yield Staged(path, folder, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def named_as_asked(*outputs: Staged) -> Iterator[None]:
    """Errors about outputs name them as they were asked for, not where they were made."""
    try:
        yield
    except OutputError as error:
        text = str(error)
        for each in outputs:
            text = text.replace(printable(each.path), printable(each.target))
        raise OutputError(text) from None
