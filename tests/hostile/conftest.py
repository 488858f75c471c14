"""Fixtures for hostile input: the `nla` script on a machine of its own, and small honest files to be spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest
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
