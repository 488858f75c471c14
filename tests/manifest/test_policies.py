"""What each policy proposes at a site whose activations are written out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from measured import FILES, measure, network, site

from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import Inspection
from nla.manifest import policies
from nla.manifest.document import Action, Manifest, loads
from nla.manifest.planning import plan
from nla.manifest.policies.base import Options
from nla.manifest.selection import Selection
from nla.site import Producer, Site

RNG = np.random.default_rng(0)
LIVELY = np.maximum(RNG.normal(size=(50, 1)), 0)
"""An active ReLU unit, [samples, 1]."""


def columns(*units: Any) -> np.ndarray:
    """[samples, units] of units given as [samples, 1] arrays or one value."""
    return np.concatenate([np.broadcast_to(unit, (50, 1)) for unit in units], axis=1)


def only(manifest: Manifest) -> Action:
    assert len(manifest.actions) == 1
    return manifest.actions[0]


def observed(z: np.ndarray, where: Site, **overrides: Any) -> Inspection:
    """The inspection of one ReLU site of which z was observed."""
    m = measure(np.maximum(z, 0), where.activation, z, pre_mean=z.mean(0), **overrides)
    return judge([where], {where.name: m}, None, Criteria(), **FILES)


def test_remove_takes_the_dead_and_nothing_else():
    seen = network((site(neurons=4), columns(0, LIVELY, 0.5, 0)))
    done = only(plan(seen, "remove"))
    assert (done.kind, done.site, done.units) == ("remove", "relu", (0, 3))
    assert done.effect["exact"] is True
    assert done.evidence["state"] == ["dead", "dead"]
    assert done.evidence["fired_samples"] == [0, 0]
    assert done.evidence["samples"] == 50
    assert done.evidence["rate_upper_bound"] == pytest.approx([1 - 0.05 ** (1 / 50)] * 2)


def test_a_unit_that_only_comes_near_zero_is_removed_with_its_bound_told():
    a = columns(-4e-4, RNG.normal(size=(50, 1)))
    where = site(neurons=2, phi="Gelu")
    m = measure(a, where.activation, columns(-4.0, 1.0))
    done = only(plan(judge([where], {"relu": m}, None, Criteria(), **FILES), "remove"))
    assert done.units == (0,)
    assert done.effect["exact"] is False
    assert done.evidence["tolerance"] == 1e-3
    assert done.evidence["value_bound"] == pytest.approx(4e-4)


def test_remove_of_a_lively_unit_is_declined_with_the_way_out():
    seen = network((site(neurons=3), columns(0, LIVELY, 0.5)))
    planned = plan(seen, "remove", Selection(state=("active", "constant", "specialised")))
    assert not planned.actions
    reasons = {entry.units: entry.reason for entry in planned.declined}
    assert "mask cuts at a price" in reasons[1,]
    assert "fold removes such a unit" in reasons[2,]


def test_fold_keeps_the_value_exactly_where_there_is_one():
    third = 1 / 3
    drifting = 2 + 1e-6 * RNG.random((50, 1))
    seen = network((site(neurons=4), columns(third, LIVELY, drifting, 0)))
    done = only(plan(seen, "fold"))
    assert done.units == (0, 2)
    assert done.parameters["values"][0] == third
    assert done.parameters["values"][1] == pytest.approx(drifting.mean(), abs=1e-12)
    assert done.effect["exact"] is False
    assert done.evidence["value_bound"] <= 1e-6
    assert only(plan(seen, "fold", Selection(site=("relu",)))).units == (0, 2)


def test_a_saturated_unit_is_folded_only_if_it_has_one_value():
    a = columns(RNG.uniform(0.995, 0.999, (50, 1)), 0.5, LIVELY)
    seen = network((site(neurons=3, phi="Sigmoid"), a))
    assert seen["relu"].states[0] == "saturated"
    assert only(plan(seen, "fold")).units == (1,)


def test_merge_finds_units_that_are_equal_up_to_a_factor():
    other = np.maximum(RNG.normal(size=(50, 1)), 0)
    seen = network((site(neurons=5), columns(LIVELY, other, 2 * LIVELY, 0.5 * LIVELY, 0)))
    done = only(plan(seen, "merge"))
    assert done.units == (2, 3)
    assert done.parameters["into"] == [0, 0]
    assert done.parameters["scales"] == pytest.approx([2, 0.5])


def test_merge_takes_no_factor_where_the_activation_is_not_homogeneous():
    a = RNG.normal(size=(50, 1))
    seen = network((site(neurons=3, phi="Tanh"), columns(np.tanh(a), np.tanh(a) / 2, np.tanh(a))))
    done = only(plan(seen, "merge"))
    assert (done.units, done.parameters["into"], done.parameters["scales"]) == ((2,), [0], [1.0])


def test_units_that_fire_once_are_not_taken_for_duplicates():
    once, later = np.zeros((50, 1)), np.zeros((50, 1))
    once[3], later[7] = 1.0, 2.0
    assert not plan(network((site(neurons=2), columns(once, later))), "merge").actions


def test_units_that_differ_on_held_out_data_are_not_merged():
    a = columns(LIVELY, LIVELY)
    where, held = site(neurons=2), a.copy()
    held[:, 1] = 0
    both = {name: {"relu": measure(x, where.activation)} for name, x in (("a", a), ("held", held))}
    assert not plan(judge([where], both["a"], both["held"], Criteria(), **FILES), "merge").actions


def test_prune_gives_every_unit_to_one_action():
    seen = network((site(neurons=5), columns(LIVELY, 0, 0.5, 3 * LIVELY, 0)))
    planned = plan(seen, "prune")
    assert {action.kind: action.units for action in planned.actions} == {
        "remove": (1, 4),
        "fold": (2,),
        "merge": (3,),
    }
    assert planned.policy == {"name": "prune", "options": {}}
    assert plan(seen, ["remove", "fold", "merge"]).actions == planned.actions
    assert plan(seen, "remove,fold,merge").actions == planned.actions


def test_mask_is_exact_for_the_dead_and_says_so_where_it_is_not():
    seen = network((site(neurons=2), columns(0, LIVELY)))
    assert only(plan(seen, "mask")).effect["exact"] is True
    asked = plan(seen, "mask", Selection(state=("active", "specialised", "dormant")))
    assert only(asked).units == (1,)
    assert only(asked).effect["exact"] is False


def test_strip_takes_its_fraction():
    seen = network((site(neurons=2), columns(0, LIVELY)))
    assert only(plan(seen, "strip")).parameters == {"fraction": 0.2}
    assert only(plan(seen, "strip", options=Options(fraction=0.5))).parameters == {"fraction": 0.5}


def two_layers(shape: tuple[int, ...] | None) -> Inspection:
    first = site("first", neurons=3)
    producer = Producer("fc2", "Gemm", "w2", shape=shape)
    second = site("second", neurons=2, upstream=("first",), producers=(producer,))
    return network((first, columns(LIVELY, 0.5, LIVELY * 2)), (second, columns(0, LIVELY)))


def test_strip_by_contribution_takes_the_means_of_the_layer_before():
    done = only(plan(two_layers((2, 3)), "strip-contribution"))
    assert done.site == "second"
    assert done.parameters["input_mean"] == pytest.approx([LIVELY.mean(), 0.5, 2 * LIVELY.mean()])
    assert done.parameters["fraction"] == 0.05


@pytest.mark.parametrize("shape", [None, (2, 27)])
def test_strip_by_contribution_is_declined_where_the_means_do_not_fit_the_inputs(shape):
    planned = plan(two_layers(shape), "strip-contribution")
    assert not planned.actions
    assert "the means of its inputs are not in the recording" in planned.declined[0].reason


def test_reset_is_exact_for_the_silent_and_takes_the_means_of_the_others():
    quiet = 1e-3 * LIVELY
    seen = network((site(neurons=3), columns(0, quiet, 9 * LIVELY)))
    planned = plan(seen, "reset", Selection(state=("dead", "dormant")), Options(seed=7))
    silent, heard = planned.actions
    assert (silent.units, silent.effect["exact"]) == ((0,), True)
    assert (heard.units, heard.effect["exact"]) == ((1,), False)
    assert heard.parameters == {"scheme": "he", "seed": 7, "means": [pytest.approx(quiet.mean())]}


@pytest.mark.parametrize(("phi", "scheme"), [("Relu", "he"), ("Sigmoid", "glorot"), ("Selu", "lecun")])
def test_fresh_weights_fit_the_activation(phi, scheme):
    seen = network((site(neurons=2, phi=phi), columns(0, LIVELY)))
    assert plan(seen, "reset", Selection(state=("dead", "dormant"))).actions[0].parameters["scheme"] == scheme


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_shift_brings_z_to_the_target_rate_and_no_further(rate):
    z = columns(RNG.uniform(-9, -8, (50, 1)), RNG.uniform(-4, -0.1, (50, 1)), LIVELY)
    done = only(
        plan(observed(z, site(), pre_rows=z.astype(np.float32)), "shift", options=Options(target_rate=rate))
    )
    shifted = z[:, :2] + np.asarray(done.parameters["delta"])
    wanted = max(1, int(np.ceil(rate * 50)))
    assert ((shifted > 0).sum(0) == wanted).all()


def test_shift_without_rows_of_z_takes_them_for_normal_and_wakes_the_unit():
    z = columns(RNG.normal(-9, 1, (50, 1)), LIVELY)
    done = only(plan(observed(z, site(neurons=2)), "shift"))
    assert (z[:, 0] + done.parameters["delta"][0] > 0).any()
    assert "normal" in done.evidence["z_from"]


def test_shift_is_declined_where_z_was_not_observed():
    planned = plan(network((site(neurons=2), columns(0, LIVELY))), "shift")
    assert not planned.actions
    assert "--pre-activations" in planned.declined[0].reason


def test_flip_takes_the_first_layer_that_kills_most_of_what_is_alive():
    layers = [site(name) for name in ("a", "b", "c")]
    a = columns(0, 0, LIVELY)
    killed = {"a": 20, "b": 16, "c": 13}  # of 50, 30 and 14 alive
    measured = {s.name: measure(a, s.activation, killed_samples=killed[s.name]) for s in layers}
    planned = plan(judge(layers, measured, None, Criteria(), **FILES), "flip")
    done = only(planned)
    assert (done.site, done.units, done.parameters) == ("b", (0, 1, 2), {})
    assert (done.evidence["killed_samples"], done.evidence["living_samples"]) == (16, 30)
    assert "plan again" in planned.notes[0]


def test_flip_says_where_there_is_nothing_to_flip():
    planned = plan(network((site(), columns(0, 0, LIVELY))), "flip")
    assert not planned.actions
    assert "nothing to flip" in planned.notes[0]


def test_swap_takes_whole_sites_and_declines_what_is_no_function_of_one_z():
    gelu = site("b", phi="Gelu")
    gated = site("c", phi="SwiGLU")
    a = columns(0, LIVELY, LIVELY)
    seen = network((site("a"), a), (gelu, a), (gated, a))
    planned = plan(seen, "swap", options=Options(to="gelu"))
    assert (only(planned).site, only(planned).units) == ("a", (0, 1, 2))
    assert only(planned).parameters == {"to": "Gelu"}
    assert [entry.site for entry in planned.declined] == ["b", "c"]


def test_repair_does_what_suits_each_state():
    quiet = 1e-3 * LIVELY
    seen = network((site(neurons=4), columns(0, quiet, 0.5, 9 * LIVELY)))
    planned = plan(seen, "repair")
    assert {action.kind for action in planned.actions} == {"reset"}
    assert sorted(unit for action in planned.actions for unit in action.units) == [0, 1, 2]
    well = plan(seen, "repair", Selection(state=("active", "specialised")))
    assert (well.actions, well.declined[0].kind, well.declined[0].units) == ((), "repair", (3,))
    assert loads(well.dumps()) == well
    stripped = plan(two_layers((2, 3)), "repair")
    assert ("second", "strip-contribution", (0,)) in [(a.site, a.kind, a.units) for a in stripped.actions]


def test_repairs_beside_cuts_are_warned_of():
    seen = network((site(neurons=2), columns(0, LIVELY)))
    assert any("evidence of another network" in note for note in plan(seen, "mask,strip").notes)


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("prnue", Options(), "did you mean prune"),
        ("", Options(), "no policy ''"),
        ([], Options(), "no policy ''"),
        ("remove,flip", Options(), "flip stands alone"),
        ("swap", Options(), "swap needs --to"),
        ("swap", Options(to="tanh"), "no activation 'tanh'"),
        ("remove", Options(to="gelu"), "the policy is not swap"),
        ("strip", Options(fraction=0.0), "fraction is 0.0"),
        ("strip", Options(fraction=float("nan")), "fraction is nan"),
        ("shift", Options(target_rate=2), "target_rate is 2"),
        ("reset", Options(seed=-1), "seed is -1"),
    ],
)
def test_what_makes_no_sense_is_refused(policy, options, message):
    seen = network((site(neurons=2), columns(0, LIVELY)))
    with pytest.raises(UsageError, match=message):
        plan(seen, policy, options=options)


def test_every_policy_has_a_name_and_says_what_it_is_for():
    for name, policy in policies.POLICIES.items():
        assert policy.name == name
        assert policy.summary
    assert set(policies.GROUPS["prune"]) <= set(policies.POLICIES)


def test_a_recording_without_neurons_that_the_policy_is_for_gives_an_empty_manifest():
    seen = network((site(neurons=2), columns(LIVELY, 2 * LIVELY + 1)))
    planned = plan(seen, "remove")
    assert (planned.actions, planned.declined) == ((), ())
    assert replace(planned, actions=()) == planned
