"""The progress bar: on a terminal, after two seconds, and gone at the end."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from unittest.mock import patch

import pytest

from nla.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch) -> Callable[..., str]:
    """What a run prints on the terminal whose events come at these times; the first is its start."""
    monkeypatch.setenv("TERM", "xterm")

    def run(
        times: Sequence[float], quiet: bool = False, stream: io.StringIO | None = None, **event: object
    ) -> str:
        stream = stream or Terminal()
        with patch.object(sys, "stderr", stream), progress.shown(quiet, clock=iter(times).__next__) as report:
            for done in range(1, len(times)):
                if report is not None:
                    report({"phase": "replay", "done": done, "total": 10, **event})
        return stream.getvalue()

    return run


def test_nothing_is_shown_where_nobody_looks(shown):
    assert shown([0, 100], stream=io.StringIO()) == ""


def test_quiet_shows_nothing(shown):
    assert shown([0, 100], quiet=True) == ""


def test_a_quick_run_shows_nothing(shown):
    assert shown([0, 0.5, 1.9]) == ""


def test_a_run_that_lasts_shows_its_phase_and_how_far_it_is(shown):
    text = shown([0, 1, 2.5, 3])
    assert "replay" in text
    assert "3/10" in text


def test_a_phase_without_a_total_is_no_error_and_its_name_is_no_markup(shown):
    assert "opening [model]" in shown([0, 3], phase="opening [model]", done=0, total=0)
