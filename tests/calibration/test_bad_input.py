"""Broken and hostile files: each is one line of DataError, nothing is unpickled, allocated or followed."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import formats as writers
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError, NlaError
from nla.site import Input

X = Input("x", "float32", ("batch", 4))
DATA = np.arange(40, dtype=np.float32).reshape(10, 4)


def opened(path: Path | str) -> Calibration:
    return open_calibration(path, [X], CalibrationOptions())


def read_all(path: Path | str) -> None:
    calibration = opened(path)
    calibration.feeds(np.arange(calibration.samples))


def refused(path: Path | str, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def npy_bytes(header: str, data: bytes = b"") -> bytes:
    padded = header.encode("latin1").ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + data


def declares(shape: str, data: bytes = bytes(160), descr: str = "'<f4'") -> bytes:
    return npy_bytes(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


class Bomb:
    """Unpickling this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (declares("(10, 4)", bytes(159)), "declares 160 bytes of data, the file holds 159"),
        (declares("(10, 4)", bytes(161)), "declares 160 bytes of data, the file holds 161"),
        (declares("(4611686018427387904, 4)"), "declares 73786976294838206464 bytes"),
        (declares("(-10, 4)"), r"declares the shape \(-10, 4\)"),
        (declares("(10, True)"), "declares the shape"),
        (declares("(10, 4)", descr="'|O'"), "pickled"),
        (declares("(10, 4)", descr="[('a', '<f4')]"), "structured"),
        (declares("(10, 4)", bytes(80), descr="'|V2'"), "without a type"),
        (declares("(10, 4)", bytes(640), descr="'<c16'"), "neither a number nor a string"),
        (declares("(10, 4)", b"", descr="'<U0'"), "neither a number nor a string"),
        (declares("(10, 4)", descr="'nonsense'"), "not a valid .npy header"),
        (npy_bytes("(" * 110), "not a valid .npy header"),
        (npy_bytes("__import__('os')"), "not a valid .npy header"),
        (b"\x93NUMPY\x01", "not a valid .npy header"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "not a valid .npy header"),
        (b"no array", "not a valid .npy header"),
    ],
)
def test_npy_whose_header_lies_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "data.npy").write_bytes(content)
    refused(tmp_path / "data.npy", told)


def test_pickled_members_are_refused_and_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.array([Bomb()], object))
    refused("data.npz", "pickled Python objects, which nla never unpickles")
    Path("data.npy").write_bytes(declares("(1,)", pickle.dumps(Bomb()), "'|O'"))
    refused("data.npy", "never unpickles")
    assert not Path("unpickled").exists()


def test_pickled_member_beside_the_data_is_told_and_not_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=DATA, extra=np.array([{}], object))
    calibration = opened(tmp_path / "data.npz")
    assert any("not used: array 'extra': it holds pickled" in s for s in calibration.account)


@pytest.mark.parametrize("write", [writers.npz, writers.npz_compressed, writers.hdf5, writers.safetensors])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated_file_is_refused(write: writers.Writer, keep: float, tmp_path: Path) -> None:
    path = write(tmp_path, {"x": np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    refused(path, path.name)


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.h5", "data.safetensors", "data.txt", "d.bin"])
def test_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, "empty")


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.h5", "data.safetensors"])
def test_git_lfs_pointer_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(tmp_path / name, "git lfs pull")


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.h5", "data.safetensors", "image.png"])
def test_fifo_is_refused_without_waiting(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "not a regular file")


def test_fifo_as_labels_or_toml_is_refused_without_waiting(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", DATA)
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="not a regular file"):
        open_calibration(tmp_path / "data.npy", [X], CalibrationOptions(labels=tmp_path / "labels.csv"))
    os.mkfifo(tmp_path / "data.npy.toml")
    refused(tmp_path / "data.npy", "not a regular file")


@pytest.mark.parametrize("path", ["/dev/zero", "/nowhere/data.npz", "nul\0byte.npz", "/proc/self/mem"])
def test_devices_and_missing_paths_are_refused(path: str) -> None:
    refused(path, ".")


def test_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "data.parquet", r"not a format.*\.npz, \.npy, \.h5")


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "holds no image")


# zip


def zipped(path: Path, members: list[tuple[str, bytes]], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_refused(tmp_path: Path) -> None:
    content = declares("(10, 4)")
    refused(zipped(tmp_path / "a.npz", [("x.npy", content)] * 2), "two members are named 'x'")
    refused(zipped(tmp_path / "b.npz", [("x.npy", content), ("x", content)]), "two members are named 'x'")


def test_member_whose_header_lies_is_refused(tmp_path: Path) -> None:
    member = ("x.npy", declares("(4000000000000, 4)"))
    refused(zipped(tmp_path / "a.npz", [member]), "declares 64000000000128 bytes, the member holds 288")
    packed = zipped(tmp_path / "b.npz", [member], compression=zipfile.ZIP_DEFLATED)
    refused(packed, "declares 64000000000128 bytes, the member holds 288")


def test_member_that_is_no_array_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", [("x.npy", declares("(10, 4)")), ("readme.md", b"hello")])
    assert any("readme.md" in s and "not a valid .npy header" in s for s in opened(path).account)


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    size = (1 << 30) + 16
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(declares(f"({size // 16}, 4)", b""))
        for _ in range(size // 16 // 4096 // 16):
            member.write(bytes(1 << 20))
        member.write(bytes(size % (1 << 20)))
    refused(path, "bytes would unpack to")


def test_corrupt_packed_member_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = writers.npz_compressed(tmp_path, {"x": np.random.default_rng(0).random((500, 4), np.float32)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    refused(path, "array 'x' cannot be unpacked|damaged")


def test_member_encrypted_or_packed_otherwise_is_refused(tmp_path: Path) -> None:
    member = [("x.npy", declares("(10, 4)"))]
    refused(zipped(tmp_path / "a.npz", member, compression=zipfile.ZIP_BZIP2), "neither stored nor deflated")
    path = zipped(tmp_path / "b.npz", member)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    refused(path, "encrypted")


def test_escape_sequences_in_names_do_not_reach_the_message(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", [("\x1b[31mred.npy", declares("(10, 3)", bytes(120)))])
    with pytest.raises(DataError) as caught:
        opened(path)
    assert "\x1b" not in str(caught.value)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), packed=st.booleans())
@settings(deadline=None, max_examples=150)
def test_any_byte_may_be_wrong_in_an_npz(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, packed: bool
) -> None:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, x=DATA, y=np.arange(10))
    content = bytearray(stream.getvalue())
    content[at % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    path.write_bytes(bytes(content))
    with contextlib.suppress(NlaError):  # anything else is a defect
        read_all(path)


# HDF5


def h5(tmp_path: Path) -> h5py.File:
    return h5py.File(tmp_path / "data.h5", "w")


def test_virtual_dataset_is_refused_because_it_can_read_as_zeros(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        layout = h5py.VirtualLayout((10, 4), "f4")
        layout[:] = h5py.VirtualSource("missing.h5", "x", (10, 4))
        file.create_virtual_dataset("x", layout)
    refused(tmp_path / "data.h5", "virtual dataset")


def test_external_link_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = DATA
    with h5(tmp_path) as file:
        file["x"] = h5py.ExternalLink("secret.h5", "/x")
    refused(tmp_path / "data.h5", "links are not followed")


def test_soft_link_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = DATA
    with h5(tmp_path) as file:
        file["group"] = h5py.ExternalLink("secret.h5", "/")
        file["x"] = h5py.SoftLink("/group/x")
    refused(tmp_path / "data.h5", "links are not followed")


def test_external_storage_is_not_opened(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file.create_dataset("x", (10, 4), "f4", external=[("/etc/passwd", 0, 160)])
    refused(tmp_path / "data.h5", "external storage")


@pytest.mark.parametrize("chunks", [None, (5, 4)])
def test_dataset_that_was_never_written_is_refused(chunks: tuple[int, int] | None, tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file.create_dataset("x", (10, 4), "f4", chunks=chunks)
    refused(tmp_path / "data.h5", "ever written")


def test_dataset_written_in_part_is_refused(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file.create_dataset("x", (10, 4), "f4", chunks=(2, 4))[:4] = 1
    refused(tmp_path / "data.h5", "2 of its 5 chunks were ever written")


def test_hdf5_of_absurd_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file.create_dataset("x", (1 << 40, 4), "f4", chunks=(1 << 20, 4))
    tracemalloc.start()
    refused(tmp_path / "data.h5", "ever written")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_compound_and_ragged_datasets_are_refused(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file["x"] = np.zeros(3, [("a", "f4")])
    refused(tmp_path / "data.h5", "structured")
    with h5(tmp_path) as file:
        file.create_dataset("x", (3,), h5py.vlen_dtype(np.float32))
    refused(tmp_path / "data.h5", "variable-length")


def test_groups_in_a_circle_end(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file["a/x"] = DATA
        file["a/again"] = file["a"]
    calibration = opened(tmp_path / "data.h5")
    np.testing.assert_array_equal(calibration.feeds(np.arange(10))["x"], DATA)


def test_groups_too_deep_are_refused(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        file["/".join("g" * 40) + "/x"] = DATA
    refused(tmp_path / "data.h5", "deeper than")


# safetensors


def safetensors(tmp_path: Path, header: bytes, data: bytes = bytes(160)) -> Path:
    path = tmp_path / "data.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


@pytest.mark.parametrize(
    "header",
    [
        b'{"x":{"dtype":"F32","shape":[10,4],"data_offsets":[0,400]}}',
        b'{"x":{"dtype":"F32","shape":[10,9],"data_offsets":[0,160]}}',
        b'{"x":{"dtype":"F32","shape":[-1,4],"data_offsets":[0,160]}}',
        b'{"x":{"dtype":"F99","shape":[10,4],"data_offsets":[0,160]}}',
        b'{"x":{"dtype":"F32","shape":[10,4],"data_offsets":[0,160]},'
        b'"x":{"dtype":"F32","shape":[10,4],"data_offsets":[0,160]}}',
        b"[]",
        b"{" * 5000,
        b"\xff\xfe",
    ],
)
def test_safetensors_whose_header_lies_is_refused(header: bytes, tmp_path: Path) -> None:
    refused(safetensors(tmp_path, header), "data.safetensors")


def test_safetensors_of_absurd_header_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + bytes(100))
    refused(path, "data.safetensors")


def test_file_that_shrinks_while_it_is_read_is_an_error_and_not_a_signal(tmp_path: Path) -> None:
    path = writers.npy(tmp_path, DATA)
    calibration = opened(path)
    os.truncate(path, 200)
    with pytest.raises(DataError, match="ended while it was read"):
        calibration.feeds(np.arange(10))
