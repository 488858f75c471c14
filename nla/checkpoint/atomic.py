"""The one writer of output files: whole or not at all, and never over a source."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nla.errors import OutputError, printable

Content = bytes | Callable[[BinaryIO], object]
_LARGEST_PROTOBUF = 1 << 31
_MODEL_STARTS = bytes(
    number << 3 | kind for number, kind in zip(range(1, 9), (0, 2, 2, 2, 0, 2, 2, 2), strict=True)
)
"""First bytes of a model, the tags of its fields 1 to 8: weights, which may be large, are not searched."""
_INDEX = ".safetensors.index.json"
_OF_CHECKPOINTS = (
    *("*.safetensors", f"*{_INDEX}", "config.json", "generation_config.json", "preprocessor_config.json"),
    *("tokenizer*.json", "special_tokens_map.json", "vocab.*", "merges.txt"),
)
"""What belongs to a checkpoint in a folder."""
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def atomic_write(
    path: str | os.PathLike[str], content: Content, *, sources: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Write `content` (bytes, or a function given the open file) to `path`, whole or not at all.

    A temporary file beside the target is written, flushed to the disk and renamed; on any failure it is
    removed and an older file of that name stays as it was. A device or pipe (`/dev/null`) is written to.
    Raises OutputError, also where `path` is one of `sources`.
    """
    atomic_write_all([(Path(path), content)], sources=sources)


def atomic_write_all(
    outputs: Sequence[tuple[Path, Content]], *, sources: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Write files that belong together, all of them whole or none at all.

    They are filled in this order and put in place in the reverse: the first one, which speaks of the others, comes
    last, and until then older files of these names are as they were. A device is written to. Raises OutputError,
    also where two outputs are one file, or one is among `sources`.
    """
    sources, temporary = list(sources), {}
    _refuse_twice([target for target, _ in outputs])
    try:  # from before the first file exists: an interrupt may come between any two lines
        for target, content in outputs:
            with _blaming(target):
                _refuse(target, sources)
                if target.exists() and not target.is_file():
                    with target.open("wb") as file:
                        _fill(file, content)
                    continue
                temporary[target] = _beside(target)
                _write(temporary[target], content)
        if temporary:
            _put_in_place([(path, target) for target, path in reversed(temporary.items())])
    finally:
        for path in temporary.values():
            with suppress(OSError):
                path.unlink()
    for folder in {target.parent for target in temporary}:
        _sync_folder(folder)


def _refuse_twice(targets: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for target in targets:
        with _blaming(target):
            real = os.path.realpath(target)
        if real in seen:
            raise OutputError(f"cannot write {printable(target)}: another output bears that name too")
        seen[real] = target


def _put_in_place(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Rename each temporary file to its target; where one fails, those before get back what was there."""
    *others, (last, _) = pairs
    aside = {target: _beside(target) for _, target in others}
    try:
        for path, target in pairs:
            with _blaming(target):
                if target in aside and target.is_symlink() | target.exists():
                    os.replace(target, aside[target])
                os.replace(path, target)
    except BaseException:
        if last.exists():  # else everything is in place, and the interrupt came after it
            for path, target in others:
                _put_back(path, target, aside[target])
        raise
    finally:
        for path in aside.values():
            with suppress(OSError):
                path.unlink()


def _put_back(path: Path, target: Path, aside: Path) -> None:
    with suppress(OSError):
        if aside.is_symlink() or aside.exists():
            os.replace(aside, target)
        elif not path.exists():  # it took the place of nothing
            target.unlink()


@contextmanager
def _blaming(target: Path) -> Iterator[None]:
    """What goes wrong with a file is said of that file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {printable(target)}: {_reason(target, error)}") from error


def check_output(path: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Find out before the work, not after it, that `path` cannot be written. Raises OutputError."""
    target = Path(path)
    with _blaming(target):
        _refuse(target, sources)
        if target.exists() and not target.is_file():
            return
        with suppress(FileNotFoundError):
            target.lstat()  # a name that is too long shows here
        temporary = _beside(target)
        try:
            _write(temporary, b"")
        finally:
            with suppress(OSError):
                temporary.unlink()


def _refuse(target: Path, sources: Iterable[str | os.PathLike[str]]) -> None:
    if not target.name:
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    if not target.exists():
        return
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    for source in (each for given in sources for each in _read_with(Path(given))):
        if not os.path.exists(source):
            continue
        if os.path.samefile(source, target):
            raise OutputError(
                f"cannot write {printable(target)}: it is the file that was read; name another output"
            )
        if _is_external_data(target, Path(source)):
            raise OutputError(
                f"cannot write {printable(target)}: it is external data of {printable(source)}; name another output"
            )


def _read_with(source: Path) -> Iterator[Path]:
    """What is read where this is: of a checkpoint in Hugging Face layout, named by folder or index, its files."""
    yield source
    folder = source.parent if source.name.endswith(_INDEX) else source
    with suppress(OSError):
        if folder.is_dir():
            yield from (path for pattern in _OF_CHECKPOINTS for path in folder.glob(pattern))


def _is_external_data(target: Path, source: Path) -> bool:
    """Whether a source, if it is an ONNX model, says in its protobuf that some of its weights lie in `target`.

    The bytes of an entry of a TensorProto's `external_data` are looked for, without a parser: what a library would
    need a child process for is decided here before the work begins.
    """
    if (
        not source.is_file()
        or not 0 < source.stat().st_size < _LARGEST_PROTOBUF
        or not os.access(source, os.R_OK)
    ):
        return False
    folders = (os.path.abspath(source.parent), os.path.realpath(source.parent))
    targets = (os.path.abspath(target), os.path.realpath(target))
    names = {os.path.relpath(path, folder) for path in targets for folder in folders}
    entries = [_location(spelled) for name in names for spelled in (name, f"./{name}")]
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[0] not in _MODEL_STARTS or content.find(b"\x0a\x08location\x12") < 0:
            return False
        return any(content.find(entry) >= 0 for entry in entries)


def _location(name: str) -> bytes:
    """The wire format of a StringStringEntryProto {key: "location", value: name}."""
    value = os.fsencode(name)
    size, length = len(value), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return b"\x0a\x08location\x12" + bytes([*length, size]) + value


def _beside(target: Path) -> Path:
    """A name in the target's folder that nothing bears."""
    return target.parent / f".nla-{secrets.token_hex(8)}.tmp"


def _write(path: Path, content: Content) -> None:
    """A new file with this content, on the disk when this returns."""
    with os.fdopen(_create(path), "wb") as file:
        _fill(file, content)
        file.flush()
        os.fsync(file.fileno())


def _create(path: Path) -> int:
    """A new file, with the mode that the user's umask gives (which tempfile would not honour)."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _fill(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; some file systems cannot, and the file is complete all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(target: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "the path holds a NUL character"
    if error.errno == errno.EISDIR or stat.S_ISDIR(_mode(target)):
        return "it is a folder; name a file in it"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not target.parent.is_dir():
        return f"the folder {printable(target.parent)} does not exist"
    return f"{_REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()}; nothing of it was written"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
