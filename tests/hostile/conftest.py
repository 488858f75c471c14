"""Fixtures for hostile input: the `nla` script on a machine of its own, and small honest files to be spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import edits
from hostile.running import SCRIPT, Machine

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Runs the script; the test skips where nla is not installed beside this Python."""
    if not SCRIPT.exists():
        pytest.skip("the nla script is not installed beside this Python")
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="session")
def sample() -> Path:
    """The folder of the smallest sample model: model.onnx and data.npz."""
    return SAMPLES / "constant_units"


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> edits.Files:
    """A model with two dead units, its recording, manifest, edited model and undo file; not to be changed."""
    return edits.prepared(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def files(honest: edits.Files, tmp_path: Path) -> edits.Files:
    """A copy of them, to be spoilt."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in honest.contents().items():
        (folder / name).write_bytes(content)
    return edits.Files(folder)
