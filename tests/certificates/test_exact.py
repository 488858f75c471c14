"""Linear programs and branching: sound whatever the solver says, and right against an independent MILP."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from certified_networks import ACTIVATIONS, WINDOWS, around, dense, inside, joined, planes
from scipy.optimize import Bounds, LinearConstraint, milp

from nla.certificates import envelopes
from nla.certificates.backward import tighten
from nla.certificates.exact import linear_program
from nla.certificates.exact.encoding import Cuts, Encoding
from nla.certificates.exact.linear_program import System, dual_bound, one, solve
from nla.certificates.exact.milp import _Search, decide
from nla.certificates.interval import ranges
from nla.certificates.methods import METHODS
from nla.certificates.proving import prove
from nla.certificates.question import Budget, Question
from nla.certificates.sets import Box, Hull
from nla.errors import MissingExtraError

RELU = ACTIVATIONS["Relu"]


def tightened(network, domains):
    tensors = [op.output for op in network.ops]
    return tighten(network, ranges(network, domains), tensors)


def truth(network, box, neuron):
    """The largest z of a neuron of a ReLU chain over a box: big-M, written apart from the code that is tested."""
    weights = [(op.weight, op.bias) for op in network.ops if hasattr(op, "weight")]
    lo, hi = box.lo, box.hi
    sizes = [len(lo)]
    lower, upper, rows, integral = [lo], [hi], [], [0] * len(lo)
    before, count = np.arange(len(lo)), len(lo)
    for W, b in weights[:-1]:
        low = np.maximum(W, 0) @ lo + np.minimum(W, 0) @ hi + b - 1e-3
        high = np.maximum(W, 0) @ hi + np.minimum(W, 0) @ lo + b + 1e-3
        a, d = count + np.arange(len(b)), count + len(b) + np.arange(len(b))
        count += 2 * len(b)
        for k in range(len(b)):  # a ≥ z, a ≤ z - low(1 - d), a ≤ max(high, 0)·d
            rows.append(({a[k]: 1.0, **dict(zip(before, -W[k], strict=True))}, b[k], np.inf))
            rows.append(
                (
                    {a[k]: 1.0, d[k]: -min(low[k], 0.0), **dict(zip(before, -W[k], strict=True))},
                    -np.inf,
                    b[k] - min(low[k], 0.0),
                )
            )
            rows.append(({a[k]: 1.0, d[k]: -max(high[k], 0.0)}, -np.inf, 0.0))
        lo, hi = np.maximum(low, 0), np.maximum(high, 0)
        lower += [np.zeros(len(b)), np.zeros(len(b))]
        upper += [hi, np.ones(len(b))]
        integral += [0] * len(b) + [1] * len(b)
        before = a
        sizes.append(len(b))
    matrix = np.zeros((len(rows), count))
    for k, (terms, _, _) in enumerate(rows):
        for column, value in terms.items():
            matrix[k, column] = value
    W, b = weights[-1]
    c = np.zeros(count)
    c[before] = -W[neuron]
    limits = [LinearConstraint(matrix, [r[1] for r in rows], [r[2] for r in rows])] if rows else []
    box_of = Bounds(np.concatenate(lower), np.concatenate(upper))
    result = milp(c, integrality=integral, bounds=box_of, constraints=limits, options={"mip_rel_gap": 0})
    assert result.status == 0
    return -result.fun + b[neuron]


def test_never_certified_where_the_truth_is_not_silent_and_methods_are_ordered():
    rng = np.random.default_rng(7)
    certified = dict.fromkeys(METHODS, 0)
    silent = 0
    for _ in range(12):
        widths = (int(rng.integers(2, 5)), *rng.integers(2, 9, size=rng.integers(1, 4)), 2)
        network = dense(rng, RELU, widths, bias=0.8)
        box = around(rng, (widths[0],), width=float(rng.uniform(0.1, 1.5)))
        exact = np.array([truth(network, box, k) for k in range(2)])
        silent += int((exact <= 0).sum())
        before = np.full(2, np.inf)
        for k, name in enumerate(METHODS):
            found = prove(network, {"x": box}, {"site": [0, 1]}, list(METHODS)[: k + 1])["site"]
            assert (found.upper >= exact - 1e-6).all()
            assert not (found.certified & (exact > 1e-6)).any()
            assert (found.upper <= before).all()
            before = found.upper
            certified[name] += int(found.certified.sum())
    assert certified["milp"] == silent  # nothing is left undecided
    assert silent > certified["interval"] > 0


@pytest.mark.parametrize("kind", ["joined", "plain", "strided"])
@pytest.mark.parametrize("name", ["Relu", "Clip", "HardSwish", "Tanh"])
def test_programs_of_every_operator_hold_what_inputs_reach(kind, name):
    rng = np.random.default_rng(11)
    network = (
        joined(rng, ACTIVATIONS[name]) if kind == "joined" else planes(rng, ACTIVATIONS[name], *WINDOWS[kind])
    )
    box = around(rng, network.inputs["x"])
    known = tightened(network, {"x": box})
    target = network.targets[-1]
    values = network.forward({"x": inside(rng, box, 300)}, [op.output for op in network.ops])
    places = np.arange(2)
    bound = linear_program.upper(Question(network, known, target.pre, places))
    assert (values[target.pre][:, :2] <= bound).all()
    assert (bound <= METHODS["linear"].bound(Question(network, known, target.pre, places)) + 1e-6).all()
    encoding = Encoding(network, known, target.pre)
    # cut to where the true maximum of the sample lies, and branch a little
    decided = decide(encoding, 0, float(values[target.pre][:, 0].max()) - 0.01, programs=30)
    assert decided.bound >= values[target.pre][:, 0].max()


def test_every_reachable_value_meets_every_row():
    rng = np.random.default_rng(12)
    for name in ("LeakyRelu", "ThresholdedRelu", "Mish"):
        network = planes(rng, ACTIVATIONS[name], *WINDOWS["strided"])
        box = around(rng, network.inputs["x"])
        encoding = Encoding(network, tightened(network, {"x": box}), "z1")
        program = encoding.program(Cuts())
        x = inside(rng, box, 200)
        values = {"x": x, **network.forward({"x": x}, [op.output for op in network.ops])}
        v = np.concatenate([values[n].reshape(200, -1) for n in encoding.start], axis=1)
        made = np.zeros((200, program.rows.count))
        np.add.at(made.T, program.rows.row, (v[:, program.rows.column] * program.rows.value).T)
        room = 1e-12
        assert (made >= program.rows.lo - room).all()
        assert (made <= program.rows.hi + room).all()
        assert ((v >= program.lo) & (v <= program.hi)).all()


def test_any_multipliers_give_a_sound_bound():
    rng = np.random.default_rng(13)
    network = dense(rng, RELU, (3, 6, 6, 2))
    box = around(rng, (3,), 1.0)
    encoding = Encoding(network, tightened(network, {"x": box}), network.targets[0].pre)
    program = encoding.program(Cuts())
    c, constant = encoding.aim(one((2,), 0))
    exact = truth(network, box, 0)
    system = System(program)
    result = system.run(-c, None)
    good = system.multipliers(result)
    best = constant + dual_bound(encoding, system, c, good)
    assert best == pytest.approx(constant - result.fun, abs=1e-3)
    for scale in (0.0, 1e-6, 0.1, 10.0):
        for _ in range(20):
            wrong = good + scale * rng.normal(size=len(good))
            bound = constant + dual_bound(encoding, system, c, wrong)
            assert bound >= exact - 1e-6
            assert bound >= best - 1e-6
    good[:3] = np.nan, np.inf, -np.inf
    assert constant + dual_bound(encoding, system, c, good) >= exact - 1e-6


def test_a_solver_that_lies_certifies_nothing(monkeypatch):
    rng = np.random.default_rng(14)
    network = dense(rng, RELU, (3, 5, 1), bias=0.1)
    box = around(rng, (3,), 1.0)
    encoding = Encoding(network, tightened(network, {"x": box}), "z1")
    program = encoding.program(Cuts())
    c, constant = encoding.aim(one((1,), 0))
    real, sparse = linear_program.libraries()

    def lying(costs, **given):
        result = real(costs, **given)
        result.fun = -1e9
        result.eqlin.marginals = -result.eqlin.marginals
        result.ineqlin.marginals = result.ineqlin.marginals * 3
        return result

    monkeypatch.setattr(linear_program, "libraries", lambda: (lying, sparse))
    assert solve(encoding, System(program), c, constant).bound >= truth(network, box, 0) - 1e-6

    def empty(costs, **given):
        result = real(costs, **given)
        result.status = 2
        return result

    monkeypatch.setattr(linear_program, "libraries", lambda: (empty, sparse))
    assert solve(encoding, System(program), c, constant).bound == np.inf


def test_a_branch_without_a_point_is_proved_empty():
    rng = np.random.default_rng(15)
    network = dense(rng, RELU, (2, 4, 4, 1))
    box = around(rng, (2,), 0.5)
    known = tightened(network, {"x": box})
    encoding = Encoding(network, known, "z2")
    c, constant = encoding.aim(one((1,), 0))
    high, low = known.boxes["z0"].hi[0], known.boxes["z0"].lo[0]
    x = inside(rng, box, 4000)
    reached = network.forward({"x": x}, ["z0"])["z0"][:, 0].max()
    beyond = Cuts({"z0": {0: (high + 1.0, high + 2.0)}})
    assert solve(encoding, System(encoding.program(beyond)), c, constant).bound == -np.inf
    possible = Cuts({"z0": {0: (reached - 0.01, high)}})
    assert solve(encoding, System(encoding.program(possible)), c, constant).bound > -np.inf
    assert (
        solve(encoding, System(encoding.program(Cuts({"z0": {0: (low, reached)}}))), c, constant).bound
        > -np.inf
    )


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid"])
def test_branching_proves_or_finds_an_input(name):
    rng = np.random.default_rng(16)
    network = dense(rng, ACTIVATIONS[name], (3, 5, 5, 3), bias=0.5)
    box = around(rng, (3,), 0.7)
    known = tightened(network, {"x": box})
    encoding = Encoding(network, known, "z2")
    sampled = network.forward({"x": inside(rng, box, 20_000)}, ["z2"])["z2"].max(axis=0)
    for k in range(3):
        proved = decide(encoding, k, float(sampled[k]) + 0.05)
        assert proved.inputs is None
        assert sampled[k] <= proved.bound <= sampled[k] + 0.05
        refuted = decide(encoding, k, float(sampled[k]) - 0.05)
        assert refuted.inputs is not None
        x = refuted.inputs["x"]
        assert ((x >= box.lo) & (x <= box.hi)).all()
        assert network.forward({"x": x[None]}, ["z2"])["z2"][0, k] == refuted.reached > sampled[k] - 0.05


def test_the_halves_of_a_branch_leave_nothing_out():
    rng = np.random.default_rng(22)
    for name in ("Relu", "Clip", "Tanh"):
        network = dense(rng, ACTIVATIONS[name], (3, 5, 5, 1))
        known = tightened(network, {"x": around(rng, (3,), 0.8)})
        search = _Search(Encoding(network, known, "z2"), 0, 0.0, lambda: None, 100)
        op = network.ops[1]
        for here in (None, rng.normal(size=search._encoding.size)):
            for k in np.flatnonzero(envelopes.curved(op.activation, known.boxes["z0"])):
                first, second = search._halves(op, int(k), Cuts({"z1": {0: (0.0, 1.0)}}), here)
                low, cut = first.ranges["z0"][k]
                again, high = second.ranges["z0"][k]
                assert low == known.boxes["z0"].lo[k] < cut == again < high == known.boxes["z0"].hi[k]
                assert first.ranges["z1"] == second.ranges["z1"] == {0: (0.0, 1.0)}
                deeper, _ = search._halves(op, int(k), second, here)
                assert deeper.ranges["z0"][k][0] == cut


def test_branching_over_the_winners_of_a_maximum():
    rng = np.random.default_rng(17)
    network = planes(rng, RELU, *WINDOWS["plain"])
    box = around(rng, network.inputs["x"], 0.15)
    known = tightened(network, {"x": box})
    encoding = Encoding(network, known, "z1")
    sampled = float(network.forward({"x": inside(rng, box, 5000)}, ["z1"])["z1"][:, 0].max())
    root = linear_program.upper(Question(network, known, "z1", np.array([0])))[0]
    assert sampled <= decide(encoding, 0, sampled, programs=60).bound <= root


def test_a_hull_bounds_the_program_by_its_own_form():
    points = np.array([[1.0, -1.0], [-1.0, 1.0]])
    rng = np.random.default_rng(18)
    network = dense(rng, RELU, (2, 2))
    network.ops[0].weight[:] = [[1.0, 1.0], [1.0, -1.0]]
    network.ops[0].bias[:] = -0.5
    found = prove(network, {"x": Hull(points)}, {"site": [0, 1]}, ("interval", "lp"))["site"]
    assert list(found.certified) == [True, False]


def test_time_that_is_over_leaves_the_box():
    rng = np.random.default_rng(19)
    network = dense(rng, RELU, (3, 5, 5, 3))
    known = ranges(network, {"x": around(rng, (3,))})
    for name in ("lp", "milp"):
        bound = METHODS[name].bound(Question(network, known, "z2", np.arange(3), budget=Budget(0.0)))
        np.testing.assert_array_equal(bound, known.boxes["z2"].hi)


def test_networks_too_large_keep_their_box(monkeypatch):
    rng = np.random.default_rng(20)
    network = dense(rng, RELU, (3, 5, 5, 3))
    known = ranges(network, {"x": around(rng, (3,))})
    monkeypatch.setattr(linear_program, "MOST_VARIABLES", 10)
    monkeypatch.setattr("nla.certificates.exact.milp.MOST_VARIABLES", 10)
    for name in ("lp", "milp"):
        bound = METHODS[name].bound(Question(network, known, "z2", np.arange(3)))
        np.testing.assert_array_equal(bound, known.boxes["z2"].hi)


@pytest.mark.parametrize("name", ["lp", "milp"])
def test_without_scipy_the_extra_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    rng = np.random.default_rng(21)
    network = dense(rng, RELU, (3, 2))
    with pytest.raises(MissingExtraError, match=r"nla\[exact\]"):
        prove(network, {"x": Box(np.zeros(3), np.full(3, 9.0))}, {"site": [0, 1]}, (name,))
    assert METHODS[name].extra == "exact"


def test_scipy_is_loaded_only_by_what_needs_it():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "import nla.certificates.methods, nla.certificates.proving, nla.certificates.exact.milp"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
