"""Fixtures for all tests."""

from __future__ import annotations

import gc
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

NEED_TORCH = ("exported_models.py", "transformer_reference.py")
"""Modules that the tests share and that import torch: looked through for doctests only where it is installed."""
collect_ignore = [] if find_spec("torch") else list(NEED_TORCH)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    """Ctrl-C reaches the processes of the tests also where these run in the background of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    """Sets aside what is alive before a test: each replay collects garbage, and would look through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the checkout; the test skips where it is absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the shared models and data, which are not beside this checkout")
    return SHARED
