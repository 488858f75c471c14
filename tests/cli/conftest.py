"""Fixtures for the command line: run it as the script does, and stand in for the Python API."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
from inspections import inspection, site_result

from nla import api
from nla.cli import endings
from nla.cli.app import run
from nla.lifecycle.table import neuron_table
from nla.manifest.planning import plan


@dataclass(frozen=True)
class Ended:
    """How one run of the command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def nla(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs `nla ARGUMENTS` in this process; handlers of signals stay as they are."""
    monkeypatch.setattr(endings, "_install", lambda handler: None)
    monkeypatch.setattr(endings, "_abandon", lambda stream: None)
    monkeypatch.setattr(endings, "written", [])
    monkeypatch.setenv("COLUMNS", "100")  # the workers of pytest-xdist have 80

    def call(*arguments: object) -> Ended:
        code = endings.guarded(lambda: run([str(a) for a in arguments]))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@dataclass
class FakeApi:
    """The verbs, replaced by mocks that keep to the real signatures."""

    inspect: Mock
    sites: Mock
    neurons: Mock
    merge: Mock
    plan: Mock

    def given(self, verb: str) -> dict[str, Any]:
        """The arguments of the only call of `verb`, by parameter name."""
        mock = getattr(self, verb)
        mock.assert_called_once()
        bound = inspect.signature(mock).bind(*mock.call_args.args, **mock.call_args.kwargs)
        return dict(bound.arguments)


@pytest.fixture
def fake_api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Every verb answers with one inspection: a site `relu` of two dead and two active neurons."""
    seen = inspection([site_result("relu", {"dead": 2, "active": 2})])
    mocks = {
        "inspect": create_autospec(api.inspect, return_value=seen),
        "sites": create_autospec(api.sites),
        "neurons": create_autospec(api.neurons, return_value=neuron_table(seen)),
        "merge": create_autospec(api.merge, return_value=seen),
        "plan": create_autospec(api.plan, return_value=plan(seen, "remove")),
    }
    for name, mock in mocks.items():
        monkeypatch.setattr(api, name, mock)
    return FakeApi(**mocks)
