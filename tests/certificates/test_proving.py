"""`prove`: methods in turn, only for what is open, within the budget; and what a certificate takes for granted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from certified_networks import ACTIVATIONS, WINDOWS, around, dense, planes

from nla.activations import Activation
from nla.certificates import methods
from nla.certificates.assumptions import assumptions
from nla.certificates.interval import ranges
from nla.certificates.methods import METHODS
from nla.certificates.network import Network, Target
from nla.certificates.ops.linear import Dense
from nla.certificates.proving import prove
from nla.certificates.question import Budget
from nla.certificates.rounding import HALF, SINGLE, gamma
from nla.certificates.sets import Box, Normalised

RELU = ACTIVATIONS["Relu"]


def one_layer(weight, bias, threshold=0.0, **more):
    target = Target("site", "z", Activation.named("Relu"), 0, len(weight), threshold)
    n = len(weight[0])
    return Network((Dense(("x",), "z", np.array(weight), np.array(bias)),), {"x": (n,)}, (target,), **more)


def said_of(network, domains):
    return assumptions(network, ranges(network, domains), network.targets[0])


def test_the_bound_is_the_inequality():
    network = one_layer([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], [-3.0, -0.5, 0.0])
    found = prove(network, {"x": Box(np.zeros(2), np.ones(2))}, {"site": [0, 2, 1]})["site"]
    assert list(found.certified) == [True, True, False]
    np.testing.assert_allclose(found.upper, [-1.0, 0.0, 0.5], atol=1e-5)
    assert (found.upper >= [-1.0, 0.0, 0.5]).all()
    assert found.method[0] == "interval"


def test_a_threshold_other_than_zero():
    network = one_layer([[1.0]], [-8.0], threshold=-6.9)
    assert prove(network, {"x": Box(np.zeros(1), np.ones(1))}, {"site": [0]})["site"].certified.all()
    assert not prove(network, {"x": Box(np.zeros(1), np.full(1, 1.2))}, {"site": [0]})["site"].certified.any()


def test_neurons_on_either_side_of_a_norms_ball():
    n = 16
    rng = np.random.default_rng(0)
    g, beta, w = rng.normal(size=n), rng.normal(size=n), rng.normal(size=n)
    p = w * g - (w * g).mean()
    edge = -(np.sqrt(n) * np.sqrt((p * p).sum()) + w @ beta)
    ball = Normalised((n,), 1, g, beta, True)
    target = Target("site", "z", Activation.named("Relu"), 0, 2)
    layer = Dense(("y",), "z", np.stack([w, w]), np.array([edge * (1 + 1e-3), edge * (1 - 1e-3)]))
    network = Network((layer,), {}, (target,), {"y": ball})
    assert list(prove(network, {}, {"site": [0, 1]}, ("interval",))["site"].certified) == [False, False]
    found = prove(network, {}, {"site": [0, 1]})["site"]
    assert list(found.certified) == [edge < 0, False]
    assert list(found.method) == ["linear", "linear"]
    said = assumptions(network, ranges(network, {}), target)
    assert any("64 standard deviations" in sentence for sentence in said)
    assert any("NaN" in sentence for sentence in said)
    uncentred = replace(network, given={"y": replace(ball, centred=False)})
    assert not any(
        "LayerNorm" in sentence for sentence in assumptions(uncentred, ranges(uncentred, {}), target)
    )


def test_assumptions_name_the_arithmetic_and_overflow_where_it_may_happen():
    network = one_layer([[1.0, 1.0]], [-3.0])
    small, wide = Box(np.zeros(2), np.ones(2)), Box(np.zeros(2), np.full(2, 1e5))
    assert len(said_of(network, {"x": small})) == 1
    assert "float32" in said_of(network, {"x": wide})[0]
    half = replace(network, unit=HALF)
    assert "no value before this site overflows float16" in said_of(half, {"x": wide})
    unknown = Box(np.zeros(2), np.full(2, np.inf))
    assert any("overflows float32" in s for s in said_of(network, {"x": unknown}))


def test_gamma_is_infinite_where_the_sum_is_too_long():
    assert gamma(1 << 25, SINGLE) == np.inf
    assert gamma(100, SINGLE) == pytest.approx(116 * 2.0**-24, rel=1e-4)


def test_methods_are_asked_about_open_places_only(monkeypatch):
    network = planes(np.random.default_rng(3), RELU, *WINDOWS["plain"])
    asked = []

    def watched(question):
        asked.append((question.tensor, question.places, question.held))
        return METHODS["linear"].bound(question)

    monkeypatch.setitem(methods.METHODS, "watched", methods.Method("watched", "", watched))
    box = around(np.random.default_rng(4), network.inputs["x"])
    wanted = {"first": [0, 1, 2, 3], "site": [2, 0]}
    found = prove(network, {"x": box}, wanted, ("interval", "watched", "watched"))
    assert {tensor for tensor, _, _ in asked} <= {"b0", "z1"}
    for _, places, before in asked:
        assert (before > 0).all()
        assert len(np.unique(places)) == len(places)
    full = prove(network, {"x": box}, wanted, ("interval", "linear"))
    for site, neurons in wanted.items():
        np.testing.assert_array_equal(found[site].neurons, neurons)
        assert (found[site].upper <= prove(network, {"x": box}, wanted, ("interval",))[site].upper).all()
        assert list(full[site].certified) == list(found[site].certified)


def test_the_place_named_is_the_neurons_worst():
    network = planes(np.random.default_rng(5), RELU, *WINDOWS["plain"])
    box = around(np.random.default_rng(6), network.inputs["x"])
    found = prove(network, {"x": box}, {"first": [3, 1]}, ("interval",))["first"]
    shape = network.shapes["b0"]
    assert [np.unravel_index(place, shape)[0] for place in found.place] == [3, 1]


def test_a_budget_of_nothing_leaves_the_first_bounds_and_says_what_was_done():
    network = dense(np.random.default_rng(7), RELU, (4, 8, 8, 3))
    domains = {"x": around(np.random.default_rng(8), (4,), 1.0)}
    told = []
    found = prove(
        network,
        domains,
        {"site": [0, 1, 2]},
        budget=Budget(0.0),
        report=lambda *said: told.append(said),
        known=ranges(network, domains),
    )
    plain = prove(network, domains, {"site": [0, 1, 2]}, ("interval",))
    np.testing.assert_array_equal(found["site"].upper, plain["site"].upper)
    assert [said[0] for said in told] == ["interval", "linear", "slopes"]


def test_ranges_that_are_stopped_leave_what_comes_after_unknown():
    network = dense(np.random.default_rng(7), RELU, (4, 8, 8, 3))
    domains = {"x": around(np.random.default_rng(8), (4,), 1.0)}
    whole, answers = ranges(network, domains), iter([False, False, True, True, True])
    part = ranges(network, domains, lambda: next(answers))
    assert (part.boxes["a0"].hi == whole.boxes["a0"].hi).all()
    assert np.isposinf(part.boxes["z1"].hi).all()
    assert np.isneginf(part.boxes["z1"].lo).all()
    nothing = prove(network, domains, {"site": [0, 1, 2]}, budget=Budget(0.0))["site"]
    assert np.isposinf(nothing.upper).all()
    assert not nothing.certified.any()


def test_tightening_and_methods_report():
    network = dense(np.random.default_rng(9), RELU, (4, 8, 8, 3), bias=0.0)
    domains = {"x": around(np.random.default_rng(10), (4,), 1.0)}
    told = []
    prove(network, domains, {"site": [0, 1, 2]}, ("interval", "lp"), report=lambda *said: told.append(said))
    phases = {phase for phase, _, _ in told}
    assert phases == {"interval", "tightening", "lp", "lp site"}
    assert all(done <= total for _, done, total in told)


def test_sites_without_a_target_are_left_out():
    network = dense(np.random.default_rng(11), RELU, (2, 3))
    assert prove(network, {"x": Box(np.zeros(2), np.ones(2))}, {"elsewhere": [0]}) == {}
