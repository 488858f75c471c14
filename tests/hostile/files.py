"""Hostile calibration data: each builder writes into a folder, and gives back what `--data` is to be.

`{name: (builder, words of the refusal)}`; the model beside it is the dense layer of `hostile.models`, input x [n, 4].
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from hostile.models import Builder

GOOD = np.arange(48, dtype=np.float32).reshape(12, 4) / 10


class Bomb:
    """Unpickling this makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("unpickled",))


def _npy(shape: str, content: bytes = bytes(192), descr: str = "'<f4'") -> bytes:
    header = (
        f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode("latin1").ljust(117) + b"\n"
    )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _file(name: str, content: bytes) -> Builder:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def _zip(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def _declared_larger(content: bytes, size: int) -> bytes:
    """A zip archive whose directory and member header say that the only member unpacks to `size` bytes."""
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    patched = bytearray(content)
    patched[local + 22 : local + 26] = patched[central + 24 : central + 28] = struct.pack("<I", size)
    return bytes(patched)


def _npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _hdf5(fill: Callable[[h5py.File, Path], object]) -> Builder:
    def build(folder: Path) -> Path:
        with h5py.File(folder / "data.h5", "w") as file:
            fill(file, folder)
        return folder / "data.h5"

    return build


def _virtual(source: str) -> Callable[[h5py.File, Path], None]:
    def fill(file: h5py.File, folder: Path) -> None:
        layout = h5py.VirtualLayout((12, 4), np.float32)
        layout[:] = h5py.VirtualSource(source, "x", shape=(12, 4))
        file.create_virtual_dataset("x", layout)

    return fill


def _raw(path: str) -> Callable[[h5py.File, Path], object]:
    return lambda file, folder: file.create_dataset("x", (12, 4), np.float32, external=[(path, 0, 192)])


def _deep(file: h5py.File, folder: Path) -> None:
    file["x"] = GOOD
    group = file.id
    for _ in range(3000):
        group = h5py.h5g.create(group, b"g")


def _external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = GOOD
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def _circle(file: h5py.File, folder: Path) -> None:
    file["x"] = h5py.SoftLink("/x")


def _huge_chunk(file: h5py.File, folder: Path) -> None:
    file.create_dataset("x", (1 << 33, 4), np.float32, chunks=(1 << 28, 4), compression="gzip")


def _object(file: h5py.File, folder: Path) -> None:
    file["x"] = np.array(["a", "b"], h5py.string_dtype())


def _filter(file: h5py.File, folder: Path) -> None:
    """A filter that no library has: the plugin search must not be led anywhere either."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((12, 4))
    properties.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((12, 4)), properties)


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _images(**files: bytes) -> Builder:
    def build(folder: Path) -> Path:
        images = folder / "images"
        images.mkdir()
        for name, content in files.items():
            (images / name.replace("_", ".")).write_bytes(content)
        return images

    return build


def _jpeg() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _fifo(name: str) -> Builder:
    def build(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return build


def _safetensors(header: dict[str, object], content: bytes = bytes(192), length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


REFUSED: dict[str, tuple[Builder, str]] = {
    "npy of 74 EB": (
        _file("data.npy", _npy("(4611686018427387904, 4)")),
        "declares 73786976294838206464 bytes",
    ),
    "npy of 32 TB": (_file("data.npy", _npy("(2199023255552, 4)")), "declares 35184372088832 bytes"),
    "npy with a negative size": (_file("data.npy", _npy("(-12, 4)")), "declares the shape"),
    "npy of objects": (_file("data.npy", _npy("(1,)", pickle.dumps(Bomb()), "'|O'")), "never unpickles"),
    "npy cut short": (_file("data.npy", _npy("(12, 4)", bytes(191))), "the file holds 191"),
    "npy with code for a header": (
        _file("data.npy", _npy("__import__('os').mkdir('unpickled')")),
        "npy header",
    ),
    "npz of objects": (_file("data.npz", _npz(x=np.array([Bomb()], object))), "never unpickles"),
    "npz member that lies about its shape": (
        _file("data.npz", _zip(("x.npy", _npy("(2199023255552, 4)")))),
        "declares 35184372088960 bytes",
    ),
    "npz member that unpacks to more than it says": (
        _file("data.npz", _declared_larger(_zip(("x.npy", _npy("(12, 4)", bytes(1 << 20)))), 320)),
        "x",
    ),
    "npz bomb": (
        _file(
            "data.npz",
            _declared_larger(_zip(("x.npy", _npy("(1000000000, 1)", bytes(1 << 20)))), 4_000_000_128),
        ),
        "data.npz",
    ),
    "npz member twice": (
        _file(
            "data.npz",
            _zip(("x.npy", _npy("(12, 4)")), ("?.npy", _npy("(12, 4)"))).replace(b"?.npy", b"x.npy"),
        ),
        "two members are named 'x'",
    ),
    "npz member that is no array": (_file("data.npz", _zip(("x", b"no array at all" * 20))), "npz"),
    "npz that is a zip of nothing": (_file("data.npz", _zip()), "npz"),
    "npz cut short": (_file("data.npz", _npz(x=GOOD)[:-40]), "npz"),
    "fifo as npy": (_fifo("data.npy"), "not a regular file"),
    "fifo as npz": (_fifo("data.npz"), "not a regular file"),
    "fifo as h5": (_fifo("data.h5"), "not a regular file"),
    "hdf5 with a missing source": (_hdf5(_virtual("missing.h5")), "virtual dataset"),
    "hdf5 of /etc/passwd": (_hdf5(_raw("/etc/passwd")), "external storage"),
    "hdf5 of /dev/zero": (_hdf5(_raw("/dev/zero")), "external storage"),
    "hdf5 of 3,000 groups in each other": (_hdf5(_deep), "deeper than"),
    "hdf5 with a link to another file": (_hdf5(_external_link), "a link"),
    "hdf5 with a link to itself": (_hdf5(_circle), "a link"),
    "hdf5 never written": (
        _hdf5(lambda file, _: file.create_dataset("x", (1 << 40, 4), np.float32)),
        "ever written",
    ),
    "hdf5 with chunks of 4 GB": (_hdf5(_huge_chunk), "chunks"),
    "hdf5 of text": (_hdf5(_object), "x"),
    "hdf5 with an unknown filter": (_hdf5(_filter), "x|ever written|cannot be read"),
    "hdf5 cut short": (
        lambda folder: _shortened(_hdf5(lambda file, _: file.create_dataset("x", data=GOOD))(folder)),
        "HDF5",
    ),
    "safetensors with a header of 2^60 bytes": (
        _file("data.safetensors", _safetensors({}, length=1 << 60)),
        "safetensors",
    ),
    "safetensors beyond its end": (
        _file(
            "data.safetensors",
            _safetensors({"x": {"dtype": "F32", "shape": [12, 4], "data_offsets": [0, 1 << 40]}}),
        ),
        "safetensors",
    ),
    "samples of nan only": (
        _file("data.npz", _npz(x=np.full((3, 4), np.nan, np.float32))),
        r"every sample \(3 of 3\)",
    ),
    "no samples": (_file("data.npz", _npz(x=GOOD[:0])), "no sample|0 samples|empty"),
    "other shapes": (_file("data.npz", _npz(x=GOOD[:, :3])), "does not fit"),
    "complex numbers": (_file("data.npz", _npz(x=GOOD.astype(np.complex64))), "x"),
    "a tensor set that is no protobuf": (
        lambda folder: _test_data_set(folder, b"\xff" * 100),
        "input_0.pb",
    ),
}

IMAGES: dict[str, tuple[Builder, str]] = {
    "a png of 10^10 pixels": (_images(a_png=_png(100_000, 100_000, zlib.compress(b""))), "pixels|decoded"),
    "a jpeg cut short": (_images(a_jpg=_jpeg()[:400]), "cannot be decoded"),
    "an svg that says it is a jpeg": (
        _images(a_jpg=b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "cannot be decoded",
    ),
    "an eps that says it is a jpeg": (
        _images(a_jpg=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "decoded",
    ),
    "a folder without images": (_images(a_txt=b"text"), "no image"),
    "an empty image": (_images(a_png=b""), "cannot be decoded|empty"),
}


ROWS_BEYOND = _images(a_png=_png(8, 8, zlib.compress(bytes(30 << 20), 9)))
"""A PNG of 8 x 8 pixels whose rows unpack to 30 MB: what does not belong to it is not unpacked."""


def _shortened(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _test_data_set(folder: Path, content: bytes) -> Path:
    inner = folder / "sets" / "test_data_set_0"
    inner.mkdir(parents=True)
    (inner / "input_0.pb").write_bytes(content)
    return inner.parent


def on_itself(folder: Path) -> Path:
    """A virtual dataset whose source is itself: HDF5 follows it until its stack ends."""
    return _hdf5(_virtual("."))(folder)
