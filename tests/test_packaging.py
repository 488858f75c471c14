"""What is installed: the public names, the wheel's files, the two commands of the README."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import nla

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_public_name_is_there_and_documented():
    for name in nla.__all__:
        value = getattr(nla, name)
        if name != "__version__":
            assert value.__doc__, name


def test_nothing_else_is_public():
    assert dir(nla) == sorted(nla.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = nla.no_such_name


def test_verbs_are_functions_whatever_was_imported_before():
    code = "import nla.api, nla.cli.app, nla; print([callable(getattr(nla, v)) for v in %r])"
    verbs = ("inspect", "sites", "neurons", "merge", "load")
    done = subprocess.run([sys.executable, "-c", code % (verbs,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([True] * len(verbs))


def test_every_extra_that_an_error_names_exists():
    extras = set(PROJECT["optional-dependencies"])
    named = {
        line.split('"')[-2]
        for path in (ROOT / "nla").rglob("*.py")
        for line in path.read_text().splitlines()
        if "MissingExtraError(" in line and line.rstrip().endswith('")')
    }
    assert named <= extras
    assert {"fast", "text", "images", "all", "test"} <= extras


def test_no_registry_host_is_named_anywhere():
    for path in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"):
        assert "://" not in path.read_text(), path


def test_the_schemas_and_the_type_marker_are_shipped(tmp_path):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed here")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = set(wheel.namelist())
    assert "nla/py.typed" in names
    schemas = {f"nla/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")}
    assert schemas
    assert schemas <= names
    parts = ("*.css", "*.js", "*.jinja")
    pages = {str(path.relative_to(ROOT)) for kind in parts for path in (ROOT / "nla").rglob(kind)}
    assert "nla/rendering/page/templates/page.html.jinja" in pages
    assert pages <= names
    assert not [name for name in names if name.startswith(("tests/", "sample_models/"))]
