"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the checkout; the test skips where it is absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the shared models and data, which are not beside this checkout")
    return SHARED
