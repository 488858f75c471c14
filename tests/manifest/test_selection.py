"""Filters: what was never asked for is left out, what the evidence holds back is declined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from measured import FILES, measure, site

from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import Inspection
from nla.manifest.planning import plan
from nla.manifest.selection import Selection, rate_bound

RNG = np.random.default_rng(1)


def inspection(z: Any, held_out: Any = None, names: tuple[str, ...] = ("relu",)) -> Inspection:
    """The same ReLU layer at each of `names`; z [samples, neurons] is observed."""
    layers = [site(name, neurons=z.shape[1]) for name in names]
    phi = layers[0].activation
    seen = {name: measure(np.maximum(z, 0), phi, z) for name in names}
    held = None if held_out is None else {n: measure(np.maximum(held_out, 0), phi, held_out) for n in names}
    return judge(layers, seen, held, Criteria(), **FILES)


def silent(distance: float) -> np.ndarray:
    """[200, 1] z whose maximum is so many standard deviations below zero."""
    z = RNG.normal(size=(200, 1))
    return z - z.max() - distance * z.std()


def units(seen: Inspection, **filters: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(action.site, action.units) for action in plan(seen, "remove", Selection(**filters)).actions]


def test_sites_that_were_not_asked_for_are_left_out_silently():
    seen = inspection(silent(1), names=("a", "b"))
    planned = plan(seen, "remove", Selection(site=("b",)))
    assert [action.site for action in planned.actions] == ["b"]
    assert not planned.declined
    assert planned.policy["options"] == {"site": ["b"]}


def test_a_margin_holds_back_units_that_nearly_wake():
    seen = inspection(np.concatenate([silent(2.0), silent(0.1)], axis=1))
    planned = plan(seen, "remove", Selection(min_margin=0.5))
    assert planned.actions[0].units == (0,)
    assert planned.declined[0].units == (1,)
    assert "margin 0.5" in planned.declined[0].reason


def test_an_unknown_margin_is_no_margin():
    where = site(neurons=1)
    m = measure(np.zeros((9, 1)), where.activation)
    planned = plan(
        judge([where], {"relu": m}, None, Criteria(), **FILES), "remove", Selection(min_margin=0.0)
    )
    assert not planned.actions
    assert "not known" in planned.declined[0].reason


def test_a_bound_on_the_rate_asks_for_enough_samples():
    seen = inspection(silent(1))
    enough = 1 - 0.05 ** (1 / 200)
    assert units(seen, max_rate_bound=enough * 1.01) == [("relu", (0,))]
    assert units(seen, max_rate_bound=enough * 0.99) == []


def test_the_bound_of_a_constant_unit_is_on_leaving_its_value():
    z = np.concatenate([np.full((200, 1), 0.5), RNG.normal(size=(200, 1))], axis=1)
    bounds = rate_bound(inspection(z)["relu"], 0.05)
    assert bounds[0] == pytest.approx(1 - 0.05 ** (1 / 200))
    assert bounds[1] > 0.3
    planned = plan(inspection(z), "fold", Selection(max_rate_bound=0.02))
    assert planned.actions[0].units == (0,)


def test_held_out_data_holds_back_what_fires_there():
    z = np.concatenate([silent(1), silent(1)], axis=1)
    held = z.copy()
    held[3, 1] = 2.0
    seen = inspection(z, held)
    assert units(seen) == [("relu", (0, 1))]
    assert units(seen, require=("held-out",)) == [("relu", (0,))]
    assert plan(seen, "remove").actions[0].evidence["held_out_fired"] == [0, 1]


def test_held_out_data_holds_back_a_constant_unit_that_leaves_its_value():
    z = np.full((200, 2), 0.5)
    held = z.copy()
    held[3, 1] = 0.51
    planned = plan(inspection(z, held), "fold", Selection(require=("held-out",)))
    assert planned.actions[0].units == (0,)
    assert planned.declined[0].units == (1,)


def test_duplicates_are_proved_on_the_weights_whatever_the_filters():
    z = RNG.normal(size=(200, 1))
    seen = inspection(np.concatenate([z, 2 * z], axis=1))
    planned = plan(seen, "merge", Selection(max_rate_bound=1e-6, min_margin=9))
    assert planned.actions[0].units == (1,)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"site": ("rleu",)}, "did you mean relu"),
        ({"state": ("daed",)}, "did you mean dead"),
        ({"state": ("?",)}, "there are dead, constant, saturated, dormant, born and 3 more"),
        ({"require": ("luck",)}, "no requirement 'luck'"),
        ({"require": ("held-out",)}, "the recording has none"),
        ({"min_margin": float("nan")}, "min_margin is nan"),
        ({"max_rate_bound": 0.0}, "max_rate_bound is 0.0"),
        ({"max_rate_bound": 1.5}, "max_rate_bound is 1.5"),
    ],
)
def test_filters_that_cannot_be_are_refused(filters, message):
    with pytest.raises(UsageError, match=message):
        plan(inspection(silent(1)), "remove", Selection(**filters))


@pytest.mark.parametrize("filters", [{"state": ("dead",)}, {"require": ("held-out",)}])
def test_a_whole_layer_cannot_be_narrowed(filters):
    seen = inspection(silent(1), silent(1))
    with pytest.raises(UsageError, match="whole layers"):
        plan(seen, "flip", Selection(**filters))
