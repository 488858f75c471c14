"""What a run touches: the outputs asked for, and nothing else: no network, no home, no module beside the model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hostile import models

import nla

PACKAGE = Path(nla.__file__).parent
MODULES = """
    click ctypes h5py json mmap nla numba numpy onnx onnx_ir onnxruntime PIL rich safetensors signal site sitecustomize
    socket tempfile tomllib typing usercustomize zipfile
""".split()  # noqa: SIM905
CHANGES = """
    mkdir mkdirat unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate chmod fchmodat chown
    fchownat utimensat mknod mknodat
""".split()  # noqa: SIM905
WRITES = re.compile(rf" (?:(?:open|openat|creat)\(.*O_(?:WRONLY|RDWR|CREAT)|(?:{'|'.join(CHANGES)})\()")
OURS = re.compile(r"\.nla-[0-9a-f]{16}\.tmp|run\.h5|run\.json|/dev/null|.*/__pycache__/?.*|/dev/shm/?.*")


@pytest.fixture
def model(tmp_path):
    return models.saved(tmp_path, models.parsed())


@pytest.fixture
def data(tmp_path):
    return models.data(tmp_path)


def allowed(wrap: tuple[str, ...]) -> tuple[str, ...]:
    """The wrapper; skips where this machine does not allow it."""
    if (
        shutil.which(wrap[0]) is None
        or subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{wrap[0]} is not there, or not allowed")
    return wrap


def test_nothing_but_the_outputs_is_written(machine, model, data):
    ended = machine.run("inspect", model, "--data", data, "-o", "run.h5", "--json", "run.json").check()
    assert ended.code == 0
    assert sorted(Path(file).name for file in ended.files) == ["run.h5", "run.json"]
    assert list(machine.home.rglob("*")) == list(machine.temporary.rglob("*")) == []
    for command in (
        ["sites", model],
        ["neurons", "run.h5"],
        ["inspect", model, "--synthetic", "3", "--verbose"],
    ):
        assert machine.run(*command).check().code == 0
        assert sorted(path.name for path in machine.here.iterdir()) == ["run.h5", "run.json"]


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_no_system_call_reaches_the_network_or_another_file(machine, tmp_path, model, data, kernel):
    if kernel == "numba":
        pytest.importorskip("numba")
        machine.run(
            "inspect", model, "--data", data, "--kernel", kernel, "-q"
        ).check()  # its cache, see below
    trace = tmp_path / "trace"
    calls = ",".join(["network", "open", "openat", "creat", *CHANGES])
    wrap = allowed(("strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(trace)))
    options = ("--data", data, "--kernel", kernel, "-o", "run.h5", "--json", "run.json")
    assert machine.run("inspect", model, *options, wrap=wrap).check().code == 0
    lines = [line for line in trace.read_text().splitlines() if " = -1 " not in line]
    assert not [line for line in lines if re.search(r" (?:socket|connect|sendto|sendmsg|bind)\(", line)]
    touched = {path for line in lines if WRITES.search(line) for path in re.findall(r'"([^"]*)"', line)}
    assert "run.h5" in touched
    assert not {path for path in touched if not OURS.fullmatch(path)}


def test_it_works_where_there_is_no_network(machine, model, data):
    assert machine.run("inspect", model, "--data", data, wrap=allowed(("unshare", "-n"))).check().code == 0


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_a_read_only_installation_is_no_obstacle_and_moves_no_cache(machine, model, data, kernel):
    if kernel == "numba":
        pytest.importorskip("numba")
    bind = f'mount --bind "{PACKAGE}" "{PACKAGE}" && mount -o remount,bind,ro "{PACKAGE}" && exec "$0" "$@"'
    wrap = allowed(("unshare", "-m", "sh", "-c", bind))
    ended = machine.run("inspect", model, "--data", data, "--kernel", kernel, wrap=wrap).check()
    assert (ended.code, ended.files) == (0, ())
    assert kernel in ended.out


def test_modules_in_the_current_folder_and_beside_the_model_are_not_run(machine, model, data):
    ran = machine.temporary / "ran"
    for folder in (machine.here, model.parent):
        for name in MODULES:
            (folder / f"{name}.py").write_text(
                f"open({str(ran)!r}, 'w').close()\nraise SystemExit('{name} was run')\n"
            )
    for command in (["inspect", model, "--data", data], ["sites", model]):
        ended = machine.run(*command).check()
        assert (ended.code, ended.files) == (0, ())
    assert not ran.exists()


def test_the_home_folder_need_not_be_there(machine, model, data):
    variables = {"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}
    assert machine.run("inspect", model, "--data", data, variables=variables).check().code == 0
    assert not os.path.exists("/nowhere")
