"""Trajectories: states by neuron and step, sites matched, and which runs make a series."""

from __future__ import annotations

import numpy as np
import pytest
from series import run, series, site

from nla.errors import UsageError
from nla.lifecycle.results import STATES
from nla.tracking import choosing
from nla.tracking.results import tracked
from nla.tracking.trajectories import codes, trajectories


def test_states_are_places_in_the_order_of_the_states() -> None:
    words = np.array([["unknown", "dead"], ["active", "dead"]])
    found = codes(words)
    assert found.dtype == np.int8
    assert [[STATES[code] for code in row] for row in found] == words.tolist()


def test_every_neuron_is_followed_through_the_sites_of_all_runs() -> None:
    runs = series({"a": "das", "b": "od"}, {"a": "ddd", "b": "oa"}, {"a": "bcd", "b": "tu"})
    first, second = trajectories(runs)[0]
    assert (first.name, first.states.shape, first.neurons) == ("a", (3, 3), 3)
    assert [[STATES[code] for code in row] for row in first.states] == [
        ["dead", "active", "specialised"],
        ["dead", "dead", "dead"],
        ["born", "constant", "dead"],
    ]
    assert first.dead.tolist() == [[True, False, False], [True, True, True], [False, False, True]]
    assert second.sites[2].counts["unknown"] == 1


def test_starved_is_read_off_the_flags_of_each_step() -> None:
    runs = [run("e0", site("a", "dda")), run("e1", site("a", "ddd", flags={1: ("starved",), 2: ("linear",)}))]
    assert trajectories(runs)[0][0].starved.tolist() == [[False] * 3, [False, True, False]]


def test_sites_that_bear_other_names_later_are_matched_by_their_order_and_that_is_told() -> None:
    runs = [run("e0", site("a", "ad"), site("b", "d")), run("e1", site("x", "dd"), site("y", "a"))]
    tracking = tracked(runs, False)
    assert [each.name for each in tracking.trajectories] == ["a", "b"]
    assert [each.name for each in tracking.steps[1].sites] == ["a", "b"]
    assert any("matched by their order" in note for note in tracking.notes)


def test_a_run_without_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="e1 says nothing of single neurons"):
        trajectories([run("e0", site("a", "a")), run("e1", site("a", "a", rows=False))])


def test_a_checkpoint_counts_once_and_keeps_the_name_with_the_step() -> None:
    runs = [
        run("Ball", site("a", "a"), digest="last"),
        run("Ball-1", site("a", "d"), step=1),
        run("Ball-2", site("a", "a"), step=2, digest="last"),
        run("again", site("a", "a"), digest="last"),
    ]
    kept, notes = choosing.without_repeats(runs)
    assert [each.label for each in kept] == ["Ball-1", "Ball-2"]
    assert notes == (
        "Ball is left out: the same checkpoint as Ball-2",
        "again is left out: the same checkpoint as Ball-2",
    )


def test_checkpoints_of_unknown_digest_are_never_taken_for_one() -> None:
    runs = [run(label, site("a", "a"), digest="") for label in ("x", "y")]
    assert choosing.without_repeats(runs) == (tuple(runs), ())


def test_runs_of_another_architecture_are_named_or_left_out() -> None:
    runs = [
        run("e0", site("a", "aa")),
        run("wide", site("a", "aaa")),
        run("e1", site("a", "ad")),
        run("deep", site("a", "aa"), site("b", "a")),
    ]
    with pytest.raises(UsageError, match=r"2 of 4 runs .* than e0 \(wide, deep\): .*--skip-unlike"):
        choosing.of_one_architecture(runs, skip=False)
    kept, notes = choosing.of_one_architecture(runs, skip=True)
    assert [each.label for each in kept] == ["e0", "e1"]
    assert [note.partition(" is left out: ")[0] for note in notes] == ["wide", "deep"]
    assert "b" in notes[1]


def test_one_step_is_no_series() -> None:
    with pytest.raises(UsageError, match=r"one checkpoint only is left of the series \(x is left out\)"):
        choosing.enough([run("e0", site("a", "a"))], ["x is left out"])
