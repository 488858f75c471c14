"""Lines above and below every activation, and how far floating point strays from it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from certified_networks import ACTIVATIONS
from onnx import TensorProto, helper

from nla.activations import Activation
from nla.certificates import envelopes
from nla.certificates.envelopes import CURVES
from nla.certificates.rounding import SINGLE
from nla.certificates.sets import Box

OTHERS = {
    "Elu, negative": Activation.named("Elu", alpha=-0.7),
    "Elu, large": Activation.named("Elu", alpha=50.0),
    "Celu, small": Activation.named("Celu", alpha=0.05),
    "Swish, negative": Activation.named("Swish", alpha=-2.0),
    "Swish, zero": Activation.named("Swish", alpha=0.0),
    "Swish, steep": Activation.named("Swish", alpha=30.0),
    "LeakyRelu, negative": Activation.named("LeakyRelu", alpha=-0.5),
    "LeakyRelu, steep": Activation.named("LeakyRelu", alpha=3.0),
    "HardSigmoid, falling": Activation.named("HardSigmoid", alpha=-0.4, beta=0.2),
    "HardSigmoid, flat": Activation.named("HardSigmoid", alpha=0.0, beta=0.2),
    "ThresholdedRelu, negative": Activation.named("ThresholdedRelu", alpha=-1.0),
    "Clip, crossed": Activation.named("Clip", min=1.0, max=-1.0),
    "Clip, above": Activation.named("Clip", min=0.0),
    "Gelu, tanh": Activation.named("Gelu", approximate=1.0),
}
ALL = {**ACTIVATIONS, **OTHERS}
each = pytest.mark.parametrize("activation", ALL.values(), ids=ALL)


def intervals(rng):
    """[k] boxes: narrow, wide, far out, around zero, points."""
    middle = np.concatenate([rng.normal(size=30), rng.normal(size=30) * 10, [-500, 500, 0, 0, 0, 1e-9]])
    half = np.abs(np.concatenate([rng.normal(size=30), rng.normal(size=30) * 30, [3, 3, 1e3, 1e-8, 0, 0]]))
    return Box(middle - half, middle + half)


def dense(activation, box, count=801):
    """[count, k] points of each interval, the breaks and their neighbours among them."""
    z = box.lo + (box.hi - box.lo) * np.linspace(0, 1, count)[:, None]
    breaks = CURVES[activation.name].breaks(dict(activation.parameters))
    beside = [p for b in breaks for p in (np.nextafter(b, -np.inf), b, np.nextafter(b, np.inf))]
    return (
        np.concatenate([z, [np.clip(np.full(box.shape, p), box.lo, box.hi) for p in beside]]) if beside else z
    )


@each
def test_lines_of_any_slope_lie_above_and_below(activation):
    rng = np.random.default_rng(1)
    box = intervals(rng)
    z = dense(activation, box)
    value = activation.value(z)
    own = envelopes.lines(activation, box)
    given = envelopes.lines(activation, box, rng.normal(size=box.shape), rng.normal(size=box.shape))
    for lines in (own, given):
        # the product and the sum of this check round as well
        room = 1e-15 * (np.abs(lines.upper_slope * z) + np.abs(lines.lower_slope * z) + np.abs(value))
        assert (lines.upper_slope * z + lines.upper_offset >= value - room).all()
        assert (lines.lower_slope * z + lines.lower_offset <= value + room).all()
    span = envelopes.span(activation, box)
    assert (value.min(axis=0) >= span.lo).all()
    assert (value.max(axis=0) <= span.hi).all()


@each
def test_slopes_of_many_rows_give_what_each_gives_alone(activation):
    box = Box(np.array([-2.0, 0.5, -4.0]), np.array([1.0, 0.6, 7.0]))
    slopes = np.random.default_rng(2).normal(size=(4, 3))
    rows = envelopes.lines(activation, box, lower=slopes)
    for k in range(4):
        alone = envelopes.lines(activation, box, lower=slopes[k])
        np.testing.assert_array_equal(rows.lower_offset[k], alone.lower_offset)


@each
def test_curvature_is_bounded_between_the_breaks(activation):
    curve, parameters = CURVES[activation.name], dict(activation.parameters)
    z = np.linspace(-60, 60, 600_001)
    slope = activation.derivative(z)
    second = np.abs(np.diff(slope) / np.diff(z))
    for point in curve.breaks(parameters):
        second[(z[:-1] <= point) & (z[1:] >= point)] = 0
    assert second.max() <= curve.curvature(parameters) * (1 + 1e-6) + 1e-8


@each
def test_tails_are_straight(activation):
    curve = CURVES[activation.name]
    tail = curve.tail(dict(activation.parameters))
    if not curve.curvature(dict(activation.parameters)) or not np.isfinite(tail):
        return
    for sign in (-1, 1):
        z = sign * tail * np.array([1.0, 1.5, 2.0, 8.0])
        value = activation.value(z)
        straight = value[0] + (value[2] - value[0]) * (z - z[0]) / (z[2] - z[0])
        np.testing.assert_allclose(value, straight, rtol=1e-13, atol=1e-13)


@each
@pytest.mark.parametrize("ends", [(-np.inf, np.inf), (-np.inf, 0.3), (-0.7, np.inf), (5.0, np.inf)])
def test_infinite_intervals_get_flat_lines_at_the_range(activation, ends):
    box = Box(np.array([ends[0]]), np.array([ends[1]]))
    z = np.concatenate([np.linspace(-60, 60, 2001), [-1e6, 1e6]])
    z = z[(z >= ends[0]) & (z <= ends[1])]
    value = activation.value(z)
    for lines in (envelopes.lines(activation, box), envelopes.lines(activation, box, np.ones(1), np.ones(1))):
        assert lines.upper_slope == 0
        assert lines.lower_slope == 0
        assert value.max() <= lines.upper_offset
        assert value.min() >= lines.lower_offset
        assert not np.isnan([lines.upper_offset, lines.lower_offset]).any()


def test_a_rectifier_that_is_off_is_exactly_zero():
    off = Box(np.array([-3.0, -np.inf, -1.0]), np.array([-1.0, -2.0, 0.0]))
    for name in ("Relu", "LeakyRelu"):
        activation = Activation.named(name) if name == "Relu" else Activation.named(name, alpha=0.0)
        span = envelopes.span(activation, off)
        assert not span.lo.any()
        assert not span.hi.any()


def test_lines_of_piecewise_linear_ones_touch():
    box = Box(np.array([-1.0]), np.array([3.0]))
    lines = envelopes.lines(Activation.named("Relu"), box)
    assert lines.upper_slope == 0.75
    assert lines.upper_offset == pytest.approx(0.75, rel=1e-12)
    assert lines.lower_slope == 1.0
    assert lines.lower_offset == pytest.approx(0.0, abs=1e-12)


def test_what_has_no_bounded_curvature_has_no_envelope():
    assert not envelopes.known(Activation.named("Celu", alpha=-1.0))
    assert not envelopes.known(Activation.named("Celu", alpha=0.0))
    assert not envelopes.known(Activation.named("PRelu", slope_min=0.1, slope_max=0.2))
    assert envelopes.known(Activation.named("Gelu"))


RUN = {
    name: a
    for name, a in ALL.items()
    if a.name not in ("Identity", "PRelu", "Clip") and "crossed" not in name
}


@pytest.mark.parametrize("activation", RUN.values(), ids=RUN)
def test_onnxruntime_strays_less_than_is_allowed_for(activation):
    known = {"alpha", "beta", "gamma"}
    given = {key: value for key, value in activation.parameters if key in known}
    if activation.name == "Gelu":
        given = {"approximate": "tanh" if dict(activation.parameters)["approximate"] else "none"}
    node = helper.make_node(activation.name, ["z"], ["a"], **given)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("z", "a")]
    opset = 24 if activation.name == "Swish" else 22
    graph = helper.make_graph([node], "one", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        pytest.skip("this onnxruntime has no kernel for it")
    rng = np.random.default_rng(0)
    z = np.concatenate([np.linspace(-25, 25, 20_001), rng.normal(size=4000) * 200, [-1e6, 1e6]]).astype(
        np.float32
    )
    exact = activation.value(z.astype(np.float64))
    made = session.run(None, {"z": z})[0].astype(np.float64)
    allowed = envelopes.error(activation, Box(exact, exact), SINGLE)
    assert (np.abs(made - exact) <= (0.0 if allowed is None else allowed)).all()
