"""Searches for inputs that wake a neuron: closed form in the first layer, ascent deeper, within the domain."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nla.activations import Activation
from nla.certificates.gradients import by_inputs, forward, single
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Concat, Product, Sum
from nla.certificates.ops.linear import Dense
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.windows import Conv, Window
from nla.certificates.points import Points
from nla.certificates.rooms import room
from nla.certificates.sets import Box, Hull, Normalised, anywhere
from nla.certificates.witnesses import search, why_not

RELU = Activation.named("Relu")


def dense(*widths, seed=0, below=0.0):
    """A ReLU network of these widths; biases lower by `below` standard deviations of z."""
    rng = np.random.default_rng(seed)
    ops, targets, before = [], [], "x"
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        weight = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        ops.append(Dense((before,), f"z{k}", weight, rng.normal(size=outputs) * 0.1 - below))
        ops.append(Activate((f"z{k}",), f"a{k}", RELU))
        targets.append(Target(f"a{k}", f"z{k}", RELU, 0, outputs))
        before = f"a{k}"
    return Network(tuple(ops), {"x": (widths[0],)}, tuple(targets))


def test_the_first_layer_is_decided_by_its_best_corner():
    network = dense(20, 60, below=1.0)
    box = Box(np.zeros(20), np.ones(20))
    found = search(network, {"a0": range(60)}, {"x": box}, rounds=0)["a0"]
    op = network.ops[0]
    best = np.maximum(op.weight, 0).sum(axis=1) + op.bias
    assert (found.woken == (best > 0)).all()
    low = best <= 0
    assert found.z[low] == pytest.approx(best[low], abs=1e-5)


def test_deep_neurons_are_woken_inside_the_box_by_float32_values():
    network = dense(12, 30, 30, 30, below=0.25)
    box = Box(np.full(12, 0.1), np.linspace(0.5, 3.0, 12))
    wanted = {f"a{k}": range(30) for k in range(3)}
    found = search(network, wanted, {"x": box}, seed=1, rounds=4)
    rng = np.random.default_rng(0)
    tried = network.forward({"x": rng.uniform(box.lo, box.hi, (20000, 12))}, ["z0", "z1", "z2"])
    for k, target in enumerate(network.targets):
        made = found[target.site]
        x = made.inputs["x"]
        assert (x == x.astype(np.float32)).all()
        assert (x >= box.lo).all()
        assert (x <= box.hi).all()
        z = network.forward({"x": x}, [target.pre])[target.pre]
        assert made.z == pytest.approx(z[np.arange(30), np.arange(30)], abs=1e-6)
        by_chance = tried[f"z{k}"].max(axis=0) > 0
        assert (made.woken >= by_chance).all()
    assert found["a2"].woken.sum() > (tried["z2"].max(axis=0) > 0).sum()


def test_a_search_is_the_same_for_the_same_seed():
    network = dense(6, 10, 10, below=1.0)
    box = {"x": Box(np.zeros(6), np.ones(6))}
    first, again = (search(network, {"a1": range(10)}, box, seed=3, rounds=3)["a1"] for _ in range(2))
    assert (first.z == again.z).all()
    assert (first.inputs["x"] == again.inputs["x"]).all()


def test_data_are_starts_and_open_ends_are_tried_far_out():
    network = dense(6, 10, below=5.0)
    narrow = search(network, {"a0": range(10)}, {"x": Box(np.zeros(6), np.ones(6))}, rounds=1)["a0"]
    wide = search(network, {"a0": range(10)}, {"x": Box(np.zeros(6), np.full(6, np.inf))}, rounds=1)["a0"]
    assert not narrow.woken.any()
    assert wide.woken.any()
    assert (wide.inputs["x"] >= 0).all()
    anything = search(network, {"a0": range(10)}, {}, starts={"x": np.full((3, 6), 100.0)}, rounds=1)["a0"]
    assert anything.woken.all()


def test_whole_numbers_stay_whole():
    network = dense(6, 10, 10, below=1.0)
    box = {"x": Box(np.full(6, -0.5), np.full(6, 7.5))}
    found = search(network, {"a1": range(10)}, box, whole=frozenset({"x"}), rounds=2)["a1"]
    x = found.inputs["x"]
    assert (x == np.rint(x)).all()
    assert x.min() >= 0
    assert x.max() <= 7


def test_a_hull_is_not_left():
    points = np.random.default_rng(2).normal(size=(8, 3))
    network = dense(3, 12, 12, below=0.5)
    found = search(network, {"a1": range(12)}, {"x": Hull(points)}, starts={"x": 9 * points}, rounds=4)["a1"]
    normals = np.random.default_rng(3).normal(size=(200, 3))
    inside = found.inputs["x"] @ normals.T <= (points @ normals.T).max(axis=0) + 1e-5
    assert inside.all()


def test_behind_a_normalisation_no_input_is_searched_for():
    network = dense(6, 10, 10)
    ball = Normalised((10,), 1, np.ones(10), np.zeros(10), centred=True)
    behind = Network(network.ops, network.inputs, network.targets, {"a0": ball})
    assert why_not(behind, behind.targets[0]) is None
    assert "'a0'" in (why_not(behind, behind.targets[1]) or "")
    assert set(search(behind, {"a0": [0], "a1": [0]}, {"x": anywhere((6,))}, rounds=1)) == {"a0"}


def test_it_ends_when_told_and_says_how_far_it_is():
    network = dense(6, 10, 10, below=9.0)
    said = []
    search(
        network,
        {"a1": range(10)},
        {"x": Box(np.zeros(6), np.ones(6))},
        rounds=2,
        report=lambda *what: said.append(what),
    )
    assert said == [("witnesses", 0, 10)] * 2
    found = search(network, {"a1": range(10)}, {"x": Box(np.zeros(6), np.ones(6))}, stop=lambda: True)["a1"]
    assert np.isfinite(found.z).all()


def test_rooms_reach_float32_ends_inside_the_box():
    """0.1 is no float32: the nearest one above is the lowest that may be tried."""
    made = room(Box(np.full(2, 0.1), np.full(2, 0.7)))
    x = made.best(np.array([[1.0, -1.0]])).astype(np.float64)
    assert 0.1 <= x[0, 1] < 0.1 + 1e-7
    assert 0.7 - 1e-7 < x[0, 0] <= 0.7
    assert made.points(5, np.random.default_rng(0)).dtype == np.float32


def mixed():
    """Every operator that a gradient goes through: convolution, pooling, sums, products, concatenation."""
    rng = np.random.default_rng(5)
    swish = Activation.named("Swish")
    ops = (
        Conv(
            ("x",),
            "c",
            rng.normal(size=(4, 2, 3, 3)),
            Window((3, 3), pads=(1, 1, 1, 1)),
            1,
            rng.normal(size=4),
        ),
        Activate(("c",), "a", swish),
        MaxPool(("a",), "p", Window((2, 2), (2, 2))),
        Conv(("p",), "g", rng.normal(size=(4, 4, 1, 1)), Window((1, 1))),
        Product(("p", "g"), "m"),
        Sum(("m", "p"), "s", -1),
        Concat(("s", "g"), "k", 0),
        Conv(("k",), "z", rng.normal(size=(3, 8, 2, 2)), Window((2, 2))),
    )
    return Network(ops, {"x": (2, 4, 6)}, (Target("r", "z", RELU, 0, 3),))


def test_gradients_equal_differences():
    network = mixed()
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 2, 4, 6))
    A = rng.normal(size=(2, *network.shapes["z"]))
    values = forward(network, {"x": x}, ["z"])
    gradient = by_inputs(network, values, "z", A)["x"]
    step = 1e-6
    for at in [(0, 1, 1), (1, 3, 5), (1, 2, 2)]:
        moved = x.copy()
        moved[(slice(None), *at)] += step
        change = forward(network, {"x": moved}, ["z"])["z"] - values["z"]
        expected = (A * change).reshape(2, -1).sum(axis=1) / step
        assert gradient[(slice(None), *at)] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    narrow = single(network)
    made = forward(narrow, {"x": x.astype(np.float32)}, ["z"])
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    assert made["z"] == pytest.approx(values["z"], rel=1e-3, abs=1e-3)
    found = search(
        network, {"r": range(3)}, {"x": Box(np.full((2, 4, 6), -1.0), np.ones((2, 4, 6)))}, rounds=1
    )
    assert found["r"].woken.all()


@pytest.mark.shared
def test_every_dead_neuron_of_the_dying_network_is_woken(shared, tmp_path):
    """413 neurons are dead on the 10,000 test images, and none on [0, 1]^784: from the study, and one more check."""
    import onnx
    from lowering_graphs import Case, lowered

    reference = np.load(shared / "acceptance" / "reference" / "dying_relu_epoch12_t10k.npz")
    proto = onnx.load(shared / "models" / "dying-relu" / "relu" / "epoch12.onnx")
    name = proto.graph.input[0].name
    case: Case = lowered(proto, tmp_path, {name: [1, 784]})
    dead = reference["fire_count"] == 0
    wanted = {target.site: np.flatnonzero(dead[k]) for k, target in enumerate(case.network.targets)}
    box = Box(np.zeros(784), np.ones(784))
    found = search(case.network, wanted, {name: box}, rounds=40)
    assert sum(len(made.neurons) for made in found.values()) == 413
    for made in found.values():
        assert made.woken.all()
        (z,) = case.run({name: made.inputs[name].astype(np.float32)}, [made.target.pre])
        assert (z[np.arange(len(z)), made.neurons] > 0).all()


def test_inputs_in_common_are_kept_once_and_what_nobody_holds_makes_room(monkeypatch):
    monkeypatch.setattr("nla.certificates.points._FEWEST", 4)
    monkeypatch.setattr("nla.certificates.points._BYTES", 0)
    kept = Points({"x": (2,)})
    points = {"x": np.arange(12, dtype=np.float32).reshape(6, 2)}
    nothing = np.full(5, -1)
    at = kept.exchange(nothing, points, np.array([3, 3, 5, 3, 1]), 1.0)
    assert len(np.unique(at)) == 3
    np.testing.assert_array_equal(kept.values["x"][at], points["x"][[3, 3, 5, 3, 1]])
    later = kept.exchange(at[:1], points, np.array([0]), 1.0)  # three others hold row 3 still
    np.testing.assert_array_equal(kept.values["x"][at[1:]], points["x"][[3, 5, 3, 1]])
    full = kept.exchange(np.array([-1, -1]), points, np.array([2, 4]), 1.0)
    assert full.tolist() == [-1, -1]
    again = kept.exchange(at[2:3], points, np.array([0]), 1.0)
    assert again.tolist() == [-1]  # no room until someone lets go
    assert later[0] not in at
    assert kept.exchange(np.array([-1]), points, np.array([0]), 0.5).tolist() == [-1]


def test_large_inputs_share_their_places(monkeypatch):
    """With room for eight inputs, sixty neurons are woken all the same: most have an input in common."""
    monkeypatch.setattr("nla.certificates.points._FEWEST", 8)
    monkeypatch.setattr("nla.certificates.points._BYTES", 0)
    found = search(dense(20, 60), {"a0": range(60)}, {"x": Box(np.full(20, -1.0), np.ones(20))}, rounds=2)[
        "a0"
    ]
    assert len(found.points["x"]) <= 8
    assert found.woken.mean() > 0.9
