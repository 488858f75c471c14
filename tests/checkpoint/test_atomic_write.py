"""Output files: whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat

import pytest

from nla.checkpoint.atomic import atomic_write, check_output
from nla.errors import OutputError


def test_bytes_and_functions_are_written(tmp_path):
    atomic_write(tmp_path / "a", b"one")
    atomic_write(tmp_path / "b", lambda file: file.write(b"two"))
    assert (tmp_path / "a").read_bytes() == b"one"
    assert (tmp_path / "b").read_bytes() == b"two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_an_older_file_is_replaced_and_gets_the_mode_of_the_umask(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    previous = os.umask(0o027)
    try:
        atomic_write(path, b"new")
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [RuntimeError("defect"), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def half(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        atomic_write(path, half)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing(tmp_path):
    def full(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"out: the disk is full; nothing of it was written"):
        atomic_write(tmp_path / "out", full)
    assert list(tmp_path.iterdir()) == []


def test_a_real_write_error_leaves_nothing(tmp_path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(OutputError, match="larger than is allowed"):
            atomic_write(tmp_path / "out", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda p: atomic_write(p, b"x"), check_output])
def test_places_that_cannot_be_written(tmp_path, write):
    for path, words in [
        (tmp_path, "it is a folder; name a file in it"),
        (tmp_path / "nowhere" / "out", "nowhere does not exist"),
        ("/proc/nowhere/run.h5", "/proc/nowhere does not exist"),
        ("a\0b", "NUL"),
        (tmp_path / ("n" * 300), "the name is too long"),
    ]:
        with pytest.raises(OutputError, match=words) as caught:
            write(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        check_output(tmp_path / "out")


def test_a_source_is_never_written_over(tmp_path):
    source, link = tmp_path / "model.onnx", tmp_path / "link"
    source.write_bytes(b"weights")
    link.symlink_to(source)
    for target in (source, link):
        with pytest.raises(OutputError, match="it is the file that was read"):
            atomic_write(target, b"x", sources=[source])
        with pytest.raises(OutputError, match="it is the file that was read"):
            check_output(target, sources=[source])
    assert source.read_bytes() == b"weights"


def test_a_device_is_written_and_not_replaced():
    atomic_write(os.devnull, b"x")
    check_output(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_checking_leaves_nothing(tmp_path):
    check_output(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        atomic_write(tmp_path / name, b"content")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
