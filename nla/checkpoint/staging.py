"""Outputs of several files, made and tried in a folder of their own beside their place, then renamed into it.

An output may be a folder itself: it is renamed as a whole, and never takes the place of another that holds anything.
"""

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
_LAID_OUT = (".safetensors", ".safetensors.index.json")
_FILES = (".onnx", ".safetensors")


class Staged:
    """A folder beside an output, in which it is made under its final name."""

    def __init__(
        self, target: Path, folder: Path, sources: tuple[StrPath, ...], is_folder: bool = False
    ) -> None:
        self.target = target
        """Where it goes in the end."""
        self._folder = folder
        self._sources = sources
        self._is_folder = is_folder

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
        if self._is_folder:
            check_folder(self.target, (*self._sources, *sources))
            return [(self.path, self.target)]
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


def makes_folder(source: StrPath, output: StrPath) -> bool:
    """Whether an edit is written as a folder: that of a checkpoint laid out as one, unless a file is named.

    >>> makes_folder("model.safetensors", "out"), makes_folder("model.safetensors", "out.onnx")
    (True, False)
    """
    laid_out = os.path.isdir(source) or os.fspath(source).endswith(_LAID_OUT)
    return laid_out and not os.fspath(output).lower().endswith(_FILES)


def check_folder(target: StrPath, sources: Iterable[StrPath] = ()) -> None:
    """Find out that a folder cannot be made, is there and not empty, or lies in one that is read.

    Raises OutputError.
    """
    path = Path(os.path.abspath(target))
    what = f"cannot write {printable(target)}"
    for source in sources:
        real = os.path.realpath(source)
        if os.path.isdir(real) and os.path.commonpath([real, os.path.realpath(path)]) == real:
            raise OutputError(f"{what}: it is, or lies in, the folder that was read; name another output")
    if not path.is_symlink() and not path.exists():
        check_output(path)
        return
    if path.is_symlink() or not path.is_dir():
        raise OutputError(f"{what}: it is there and is no folder; name one that does not exist")
    if any(path.iterdir()):
        raise OutputError(
            f"{what}: the folder is there and not empty; name one that does not exist, for a folder is written "
            "as a whole"
        )


@contextmanager
def staged(target: StrPath, sources: Iterable[StrPath] = (), *, is_folder: bool = False) -> Iterator[Staged]:
    """A place to make `target` in, gone with all that is left in it when the context ends.

    Raises OutputError where `target` cannot be written, is no regular file (or, with `is_folder`, a folder that
    holds anything), or is one of `sources`.
    """
    given = tuple(sources)
    path = Path(os.path.abspath(target)) if is_folder else Path(target)
    if is_folder:
        check_folder(target, given)
    else:
        check_output(target, sources=given)
    if not is_folder and path.exists() and not path.is_file():
        raise OutputError(f"cannot write {printable(path)}: it is a device or a pipe; name a regular file")
    folder = path.parent / f".nla-{secrets.token_hex(8)}"
    try:
        folder.mkdir()
        yield Staged(path, folder, given, is_folder)
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
