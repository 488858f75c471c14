"""Smooth functions, steps, comparisons and choices against onnxruntime; where they are not defined nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from lowering_graphs import held, lowered, model
from operator_cases import case, f, i

from nla.certificates.interval import ranges
from nla.certificates.ops.base import Context
from nla.certificates.ops.joining import Quotient
from nla.certificates.ops.smooth import FUNCTIONS, Smooth
from nla.certificates.ops.steps import JUDGEMENTS, Choice, Judgement
from nla.certificates.proving import prove
from nla.certificates.rounding import SINGLE
from nla.certificates.sets import Box, anywhere

POWERS = (2.0, 3.0, 4.0, 0.5, 1.5, -1.0, -2.0, 0.0, 1.0)
TWO = "float[1, 4] x, float[1, 4] w"
SMOOTH = [
    *(
        case(op, f"y = {op}(x)", low=0.3, high=2.5)
        for op in ("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Atan")
    ),
    *(case(f"{op} far", f"y = {op}(x)", low=-9.0, high=9.0) for op in ("Exp", "Sin", "Cos", "Atan")),
    *(case(f"Pow {p}", "y = Pow(x, p)", p=f(p), low=0.3, high=2.5) for p in POWERS),
    *(case(f"Pow {p} about zero", "y = Pow(x, p)", p=f(p), low=-1.5, high=2.0) for p in (2.0, 3.0, 4.0)),
    *(case(f"Pow {p} below zero", "y = Pow(x, p)", p=f(p), low=-2.0, high=-0.5) for p in (-1.0, -2.0, -3.0)),
    case("Sqrt from zero", "y = Sqrt(x)", low=0.0, high=2.0),
    case("square", "y = Mul(x, x)", low=-1.0, high=2.0),
    case("quotient", "y = Div(x, w)", TWO, low=0.5, high=2.0),
    case("constant over data", "y = Div(c, x)", c=f(1, -2, 3, -4), low=0.5, high=2.0),
    case("mean over a mask", "s = Mul(x, w)\n"
         " n = ReduceSum<axes=[1]>(s)\n m = ReduceSum<axes=[1]>(w)\n y = Div(n, m)", TWO, 11, low=0.5, high=2.0),
]  # fmt: skip
STEPS = [
    *(
        case(op, f"z = Mul(x, c)\n y = {op}(z)", c=f(2.3, -1.7, 0.4, 9.1))
        for op in ("Sign", "Floor", "Ceil", "Round")
    ),
    *(
        case(op, f"c = {op}(x, w)\n y = Cast<to=1>(c)", TWO)
        for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
    ),
    *(
        case(
            op,
            f"a = Greater(x, w)\n b = Less(x, t)\n n = Not(a)\n c = {op}(n, b)\n y = Cast<to=1>(c)",
            TWO,
            t=f(0.25),
        )
        for op in ("And", "Or", "Xor")
    ),
    case("whole", "z = Mul(x, c)\n n = Cast<to=7>(z)\n y = Cast<to=1>(n)", c=f(2.3, -1.7, 0.4, 9.1)),
    case("truth", "z = Floor(x)\n n = Cast<to=9>(z)\n y = Cast<to=1>(n)"),
    case("where", "c = Greater(x, w)\n y = Where(c, x, w)", TWO),
    case(
        "where stretched", "c = Greater(x, o)\n y = Where(c, x, w)", "float[1, 4] x, float[1, 1] w", o=f(0.1)
    ),
    case("where decided", "c = Less(x, o)\n y = Where(c, x, w)", TWO, o=f(9)),
]


@pytest.mark.parametrize("graph", [*SMOOTH, *STEPS], ids=str)
def test_values_and_bounds_hold_what_onnxruntime_computes(graph, tmp_path):
    made = lowered(model(graph.body, graph.inputs, "y", graph.opset, **graph.arrays), tmp_path, graph.shapes)
    held(made, ["y"], graph.low, graph.high, close=graph.close)


def _boxes(rng, count, low, high):
    ends = np.sort(rng.uniform(low, high, (2, count)), axis=0)
    ends[1, : count // 4] = ends[0, : count // 4]  # points
    return Box(ends[0], ends[1])


@pytest.mark.parametrize(
    ("function", "power"),
    [*((name, 1.0) for name in FUNCTIONS if name != "Pow"), *(("Pow", p) for p in (*POWERS[:7], -3.0, -0.5))],
)
def test_a_smooth_function_lies_in_its_range_and_between_its_lines(function, power):
    rng = np.random.default_rng(1)
    op = Smooth(("x",), "y", function, power)
    for low, high in ((-3.0, 3.0), (0.0, 2.0), (-40.0, 40.0), (1e-6, 1e-3)):
        x = _boxes(rng, 200, low, high)
        y, _ = op.interval(x, unit=SINGLE)
        assert not np.isnan(y.lo).any()
        assert not np.isnan(y.hi).any()
        z = np.concatenate([rng.uniform(x.lo, x.hi, (64, 200)), x.lo[None], x.hi[None]])
        value = op.forward(z)
        known = ~np.isnan(value)
        assert (known | np.isinf(y.hi)).all()
        assert ((value >= y.lo) & (value <= y.hi))[known].all()
        finite = np.isfinite(value) & np.isfinite(y.lo) & np.isfinite(y.hi)
        assert finite.any()
        for sign in (1.0, -1.0):
            A = np.diag(np.full(200, sign))
            back = op.back(A, Context((x,), y, np.zeros(200)))
            (part,) = back.parts
            bound = np.einsum("rk,sk->sr", part, z) + back.constant
            assert (bound >= sign * value - 1e-12 * (1 + np.abs(value)))[finite].all()
            near = np.isfinite(back.constant)
            assert (bound <= (np.maximum(y.hi, -y.lo) * 4 + 1e-3 + 40))[:, near].all() or function in (
                "Exp",
                "Pow",
                "Log",
            )


def test_lines_of_a_narrow_range_are_tight():
    x = Box(np.array([0.9]), np.array([1.1]))
    for function, slope in (("Exp", np.e), ("Sin", np.cos(1.0)), ("Log", 1.0)):
        op = Smooth(("x",), "y", function)
        y, _ = op.interval(x, unit=SINGLE)
        for sign in (1.0, -1.0):
            back = op.back(np.array([[sign]]), Context((x,), y, np.zeros(1)))
            assert back.parts[0][0, 0] == pytest.approx(sign * slope, rel=0.12)
            gap = back.parts[0][0, 0] + back.constant[0] - sign * op.forward(np.array([[1.0]]))[0, 0]
            assert 0 <= gap < 0.02


def test_where_a_function_is_not_defined_nothing_is_known():
    x = Box(np.array([-1.0, 0.0, -np.inf]), np.array([2.0, 0.0, np.inf]))
    for function, power in (("Log", 1.0), ("Pow", -1.0), ("Pow", -0.5)):
        y, _ = Smooth(("x",), "y", function, power).interval(x, unit=SINGLE)
        assert np.isneginf(y.lo).all()
        assert np.isposinf(y.hi).all()
    nothing = Box(np.zeros(1), np.zeros(1)), Box(np.array([-np.inf]), np.array([np.inf]))
    y, _ = Quotient(("x", "r"), "y").interval(*nothing, unit=SINGLE)  # 0 / 0
    assert np.isposinf(y.hi).all()


def test_a_sine_reaches_its_tops_and_no_further():
    ends = np.array([[0.1, 3.0], [0.1, 1.5], [4.0, 5.0], [-1e9, 1e9], [1.5, 1.6], [20.0, 20.1]])
    y, _ = Smooth(("x",), "y", "Sin").interval(Box(ends[:, 0], ends[:, 1]), unit=SINGLE)
    samples = [np.sin(np.linspace(max(a, -30.0), min(b, 30.0), 100_001)) for a, b in ends]
    assert y.hi == pytest.approx([s.max() for s in samples], abs=1e-4)
    assert y.lo == pytest.approx([s.min() for s in samples], abs=1e-4)


@pytest.mark.parametrize("kind", JUDGEMENTS)
def test_a_judgement_is_decided_only_where_every_value_agrees(kind):
    rng = np.random.default_rng(3)
    x, y = _boxes(rng, 400, -1, 1), _boxes(rng, 400, -1, 1)
    if kind in ("And", "Or", "Xor"):
        lo = rng.integers(0, 2, (2, 400)).astype(float)
        hi = np.maximum(lo, rng.integers(0, 2, (2, 400)))
        x, y = Box(lo[0], hi[0]), Box(lo[1], hi[1])
    made, _ = Judgement(("x", "y"), "z", kind).interval(x, y, unit=SINGLE)
    if kind in ("And", "Or", "Xor"):
        corners = [(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
    else:
        corners = [(rng.uniform(x.lo, x.hi), rng.uniform(y.lo, y.hi)) for _ in range(50)]
    for a, b in corners:
        value = Judgement(("x", "y"), "z", kind).forward(a[None], b[None])[0]
        assert ((made.lo <= value) & (value <= made.hi)).all()
    assert (made.lo == made.hi).any()
    assert (made.lo < made.hi).any()


def test_a_choice_passes_on_what_is_decided():
    chosen = Box(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0]))
    x, y = Box(np.full(3, -1.0), np.full(3, 2.0)), Box(np.full(3, 3.0), np.full(3, 4.0))
    op = Choice(("c", "x", "y"), "z")
    z, error = op.interval(chosen, x, y, unit=SINGLE)
    assert (z.lo.tolist(), z.hi.tolist()) == ([-1, 3, -1], [2, 4, 4])
    back = op.back(np.eye(3), Context((chosen, x, y), z, error))
    assert np.diag(back.parts[1]).tolist() == [1, 0, 0]
    assert np.diag(back.parts[2]).tolist() == [0, 1, 0]
    assert back.constant == pytest.approx([0, 0, 4])


def test_whole_numbers_are_not_divided(tmp_path):
    made = model(
        "a = Div(x, c)\n h = Cast<to=1>(a)\n z = Add(h, b)\n y = Relu(z)",
        "int64[1, 4] x",
        c=i(3, 3, 3, 3),
        b=f(-1, -1, -1, -1),
    )
    made.graph.node[3].op_type = "Relu"
    network = lowered(made, tmp_path).network
    assert not network.targets
    assert all("whole numbers" in why for why in network.reasons.values())


def test_a_network_at_a_reference_point_is_lowered_like_data(tmp_path):
    """V(x) - V(x0): what a graph computes from constants is rounded by the model, so it is bounded, not folded."""
    made = model(
        "g = Gemm(o, w, b)\n l = LeakyRelu(g)\n h = Gemm(l, v)\n k = Gemm(x, w, b)\n m = LeakyRelu(k)\n "
        "n = Gemm(m, v)\n t = Transpose(r)\n q = MatMul(t, r)\n p = MatMul(x, q)\n s = Mul(p, p)\n"
        " d = Sub(n, h)\n z = Sub(d, s)\n e = Sub(z, c)\n y = Relu(e)",
        o=np.zeros((1, 4), np.float32),
        w=np.eye(4, dtype=np.float32),
        b=f(0.1, 0.2, -0.3, 0.4),
        v=np.eye(4, dtype=np.float32),
        r=0.5 * np.eye(4, dtype=np.float32),
        c=f(3, 0, 0, 3),
    )
    case_ = lowered(made, tmp_path)
    (target,) = case_.network.targets
    found = prove(case_.network, {"x": Box(np.full(4, -1.0), np.ones(4))}, {target.site: range(4)})[
        target.site
    ]
    assert found.certified.tolist() == [True, False, False, True]
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4)).astype(np.float32)
    (got,) = case_.run({"x": x}, ["e"])
    assert case_.network.forward({"x": x.astype(float)}, ["e"])["e"][0] == pytest.approx(got[0], abs=1e-5)
    box = ranges(case_.network, {"x": Box(x[0].astype(float), x[0].astype(float))}).boxes["e"]
    assert (box.lo <= got[0]).all()
    assert (got[0] <= box.hi).all()
    assert (box.hi > box.lo).all()


def test_an_expanded_token_is_a_constant(tmp_path):
    made = model(
        "t = Expand(c, s)\n j = Concat<axis=1>(t, x)\n z = MatMul(j, w)\n y = Relu(z)",
        "float[1, 2, 3] x",
        c=np.full((1, 1, 3), 2, np.float32),
        s=i(1, 1, 3),
        w=np.ones((3, 2), np.float32),
    )
    network = lowered(made, tmp_path).network
    (target,) = network.targets
    box = ranges(network, {"x": Box(np.zeros((2, 3)), np.ones((2, 3)))}).boxes[target.pre]
    assert box.hi[0] == pytest.approx([6, 6], rel=1e-4)


@pytest.mark.parametrize("form", ["n = Log(x)", "n = Sqrt(x)", "n = Div(x, x)"])
@pytest.mark.parametrize("bounded", ["h = Sigmoid(n)", "h = Clip(n, zero, one)", "h = Softmax(n)"])
def test_what_may_be_no_number_bounds_nothing_behind_it(form, bounded, tmp_path):
    """NaN passes a sigmoid, a clip and a softmax: z is NaN at x = -1 or 0, and no number above it is a bound."""
    made = model(
        f"{form}\n {bounded}\n z = Gemm(h, w, b)\n y = Relu(z)",
        w=np.eye(4, dtype=np.float32),
        b=np.full(4, -2, np.float32),
        zero=np.zeros((), np.float32),
        one=np.ones((), np.float32),
    )
    case_ = lowered(made, tmp_path)
    wide, above = (Box(np.full(4, low), np.ones(4)) for low in (-1.0, 0.5))
    assert np.isposinf(ranges(case_.network, {"x": wide}).boxes["z"].hi).all()
    assert (ranges(case_.network, {"x": above}).boxes["z"].hi < -0.9).all()


@pytest.mark.parametrize("left", [0, 1])
def test_a_row_that_is_masked_as_a_whole_is_no_number(left, tmp_path):
    mask = np.where(np.arange(4) < left, 0, -np.inf).astype(np.float32).reshape(1, 4)
    made = model("m = Add(x, c)\n s = Softmax(m)\n y = Relu(s)", c=mask)
    network = lowered(made, tmp_path).network
    for domain in (Box(np.zeros(4), np.ones(4)), anywhere((4,))):
        assert np.isfinite(ranges(network, {"x": domain}).boxes["s"].hi).all() == bool(left)
