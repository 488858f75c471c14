"""`.npz`: a zip of .npy members, read without unpacking what lies in it uncompressed."""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
from pathlib import Path

from nla.calibration.columns import Column, Handle, LazyColumn, why_unsupported
from nla.calibration.files import blaming, open_regular
from nla.calibration.npy import HEADER_BYTES, Header, column, parse_header
from nla.calibration.source import Request, Source
from nla.errors import DataError, one_line, printable

_LARGEST_UNPACKED_BYTES = 64 << 30
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 200
"""A member that unpacks to more than 1 GiB and to more than 200 times its size is refused as a zip bomb."""
_IN_MEMORY_BYTES = 64 << 20
_MOST_MEMBERS = 10_000
_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30


class Npz:
    """numpy.savez's and savez_compressed's format."""

    kind = "npz"

    def recognises(self, path: Path, head: bytes) -> bool:
        """By its suffix, or as a zip."""
        return path.suffix.lower() == ".npz" or head.startswith(b"PK\x03\x04")

    def open(self, path: Path, request: Request) -> Source:
        """A column per member; what cannot be data is refused by name, a name that comes twice outright."""
        handle = open_regular(path)
        arrays: dict[str, Column] = {}
        refused: dict[str, str] = {}
        with blaming(f"{handle.name}: not a readable .npz file"), zipfile.ZipFile(path) as archive:
            for name, member in _members(archive, handle.name).items():
                try:
                    arrays[name] = _open_member(path, archive, member, handle)
                except ValueError as error:
                    refused[name] = str(error)
        return Source(self.kind, arrays, refused=refused)


def _members(archive: zipfile.ZipFile, shown: str) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise DataError(f"{shown}: {len(infos)} members; at most {_MOST_MEMBERS} are read")
    for member in infos:
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise DataError(f"{shown}: two members are named {printable(name)!r}; which one is meant?")
        members[name] = member
    return members


def _open_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, handle: Handle) -> Column:
    if member.flag_bits & 1:
        raise ValueError("it is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is neither stored nor deflated")
    try:
        with archive.open(member) as stream:
            header = parse_header(stream.read(HEADER_BYTES))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"its zip member is damaged ({one_line(error, 120)})") from None
    _check_member(member, header)
    if member.compress_type == zipfile.ZIP_STORED:
        return column(handle, header, _stored_at(member, handle))
    return LazyColumn(header.dtype, header.shape, lambda: _unpack(path, member, header, handle.name))


def _check_member(member: zipfile.ZipInfo, header: Header) -> None:
    if reason := why_unsupported(header.dtype):
        raise ValueError(reason)
    expected = header.offset + header.data_bytes
    if member.file_size != expected:
        raise ValueError(f"its header declares {expected} bytes, the member holds {member.file_size}")
    bomb = member.file_size > _BOMB_BYTES and member.file_size > _BOMB_RATIO * max(1, member.compress_size)
    if bomb or member.file_size > _LARGEST_UNPACKED_BYTES:
        raise ValueError(f"{member.compress_size} bytes would unpack to {member.file_size}: use np.savez")


def _stored_at(member: zipfile.ZipInfo, handle: Handle) -> int:
    """Byte at which a stored member's data starts: only its local header says so."""
    local = handle.read(_LOCAL_HEADER_BYTES, member.header_offset)
    if len(local) != _LOCAL_HEADER_BYTES or not local.startswith(b"PK\x03\x04"):
        raise ValueError("its zip member is damaged (no local header)")
    name_bytes, extra_bytes = struct.unpack_from("<HH", local, 26)
    begin: int = member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    if member.compress_size != member.file_size or begin + member.file_size > handle.size:
        raise ValueError("its zip member is truncated")
    return begin


def _unpack(path: Path, member: zipfile.ZipInfo, header: Header, shown: str) -> Column:
    """The member's bytes in a temporary file without a name, which vanishes with its handle.

    So the memory taken does not grow with the data; what is small is held in an anonymous file in memory.
    """
    what = f"{shown}: array {printable(member.filename.removesuffix('.npy'))!r} cannot be unpacked"
    with blaming(what):
        unpacked = Handle(_scratch(member.file_size, what), shown)
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            total = 0
            while chunk := stream.read(_CHUNK_BYTES):
                total += _write(unpacked.descriptor, chunk)
        if total != member.file_size:
            raise DataError(f"{what}: it ends after {total} of {member.file_size} bytes")
    return column(unpacked, header, 0)


def _write(descriptor: int, chunk: bytes) -> int:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(chunk)


def _scratch(size_bytes: int, what: str) -> int:
    """Descriptor of a new file without a name, with room for so many bytes."""
    if size_bytes <= _IN_MEMORY_BYTES:
        return os.memfd_create("nla", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix="nla-") as target:
        room = os.statvfs(target.fileno())
        if size_bytes > room.f_bavail * room.f_frsize:
            raise DataError(f"{what}: {size_bytes} bytes do not fit in {tempfile.gettempdir()}; set TMPDIR")
        return os.dup(target.fileno())
