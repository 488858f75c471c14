"""A unit leaves the graph only with its whole channel group."""

from __future__ import annotations

import numpy as np
import pytest
from measured import network, site

from nla.lifecycle.results import Inspection
from nla.manifest.planning import plan
from nla.manifest.selection import Selection

LIVELY = np.maximum(np.random.default_rng(2).normal(size=(50, 1)), 0)


def columns(*units: object) -> np.ndarray:
    return np.concatenate([np.broadcast_to(unit, (50, 1)) for unit in units], axis=1)


def residual(first: np.ndarray, second: np.ndarray, **settings: object) -> Inspection:
    """Two sites of three units whose channels of one index leave together."""
    groups = np.array([4, 5, 6])
    return network((site("a", groups=groups, **settings), first), (site("b", groups=groups), second))


def test_a_group_goes_where_all_of_it_is_silent():
    seen = residual(columns(0, 0, LIVELY), columns(0, 0.5, LIVELY))
    planned = plan(seen, "prune")
    assert {(a.site, a.kind): a.units for a in planned.actions if a.kind != "merge"} == {
        ("a", "remove"): (0, 1),
        ("b", "remove"): (0,),
        ("b", "fold"): (1,),
    }


def test_a_group_stays_where_a_unit_of_it_lives_and_the_reason_names_the_site():
    planned = plan(residual(columns(0, 0, LIVELY), columns(0, LIVELY, LIVELY)), "remove")
    assert {a.site: a.units for a in planned.actions} == {"a": (0,), "b": (0,)}
    assert [(d.site, d.units) for d in planned.declined] == [("a", (1,))]
    assert "not silent, at b" in planned.declined[0].reason


def test_a_lively_unit_leaves_where_a_dead_one_that_shields_it_does():
    groups = np.array([4, 5, 6])
    planned = plan(
        network(
            (site("gate", groups=groups, shielded_by=("a",)), columns(LIVELY, LIVELY, LIVELY)),
            (site("a", groups=groups), columns(0, 0.5, LIVELY)),
        ),
        "remove,fold",
    )
    assert [(a.site, a.kind, a.units) for a in planned.actions] == [("a", "remove", (0,))]
    assert [(d.site, d.kind, d.units) for d in planned.declined] == [("a", "fold", (1,))]


def test_a_group_stays_where_a_silent_unit_of_it_was_not_asked_for():
    planned = plan(residual(columns(0, 0, LIVELY), columns(0, 0, LIVELY)), "remove", Selection(site=("a",)))
    assert not planned.actions
    assert "silent and is not to be cut, at b" in planned.declined[0].reason


def test_a_locked_channel_stays_with_what_locks_it():
    where = site("a", groups=np.array([-1, 0, -1]), kept="graph output 'features'")
    planned = plan(network((where, columns(0, 0, LIVELY))), "remove")
    assert planned.actions[0].units == (1,)
    assert planned.declined[0].units == (0,)
    assert "kept by graph output 'features'" in planned.declined[0].reason


def test_a_duplicate_whose_channel_goes_with_others_stays():
    twins = columns(LIVELY, 2 * LIVELY, 0)
    planned = plan(residual(twins, twins), "merge")
    assert not planned.actions
    assert {entry.site for entry in planned.declined} == {"a", "b"}
    assert "a duplicate whose channel goes with those of other sites" in planned.declined[0].reason


def test_a_narrowed_action_keeps_the_values_of_the_units_that_are_left():
    where = site("a", groups=np.array([0, -1, 1]))
    planned = plan(network((where, columns(0.25, 0.5, 0.75))), "fold")
    assert planned.actions[0].units == (0, 2)
    assert planned.actions[0].parameters["values"] == [0.25, 0.75]


def test_a_mask_changes_no_shape_and_needs_no_group():
    where = site("a", groups=np.array([-1, -1, -1]), kept="a graph output")
    assert plan(network((where, columns(0, 0, LIVELY))), "mask").actions[0].units == (0, 1)


@pytest.mark.parametrize("groups", [None, np.array([0, 1, 2])])
def test_units_of_unknown_or_own_groups_go(groups):
    assert plan(network((site("a", groups=groups), columns(0, LIVELY, 0))), "remove").actions[0].units == (
        0,
        2,
    )
