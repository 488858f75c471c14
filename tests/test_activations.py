"""Activations: φ′ against finite differences, φ against SciPy and torch, every fact against φ itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from nla.activations import GATED, NAMES, Activation
from nla.errors import ModelError

FAMILY = [Activation.named(name) for name in NAMES if Activation.named(name).elementwise] + [
    Activation.named("LeakyRelu", alpha=-0.3),
    Activation.named("LeakyRelu", alpha=0),
    Activation.named("PRelu", slope_min=-0.1, slope_max=-0.1),
    Activation.named("Elu", alpha=0.3),
    Activation.named("Celu", alpha=2),
    Activation.named("Selu", alpha=1, gamma=2),
    Activation.named("Clip", min=0, max=6),
    Activation.named("Clip", min=-1, max=1),
    Activation.named("Clip", min=0.5, max=1),
    Activation.named("Clip", min=-2, max=0),
    Activation.named("ThresholdedRelu", alpha=0),
    Activation.named("ThresholdedRelu", alpha=-1),
    Activation.named("HardSigmoid", alpha=1 / 6, beta=0.5),
    Activation.named("Gelu", approximate=1),
    Activation.named("Swish", alpha=1.702),
    Activation.named("Swish", alpha=-1),
    Activation.named("Swish", alpha=0.5),
]
GRID = np.linspace(-14, 14, 28001) + 0.000123  # off every kink
FLAT = 0.01

each = pytest.mark.parametrize("phi", FAMILY, ids=lambda phi: f"{phi.name}-{dict(phi.parameters)}")


@each
def test_derivative_equals_finite_differences(phi: Activation) -> None:
    step = 1e-6
    slope = (phi.value(GRID + step) - phi.value(GRID - step)) / (2 * step)
    np.testing.assert_allclose(phi.derivative(GRID), slope, atol=1e-8, rtol=1e-7)


@each
def test_values_are_finite_and_quiet_far_out(phi: Activation) -> None:
    far = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    assert np.isfinite(phi.value(far)).all()
    assert np.isfinite(phi.derivative(far)).all()


@each
def test_survives_json(phi: Activation) -> None:
    assert Activation.from_dict(json.loads(json.dumps(phi.to_dict(), allow_nan=False))) == phi


@each
def test_nonnegative_where_it_says_so(phi: Activation) -> None:
    assert phi.nonnegative == bool((phi.value(GRID) >= 0).all())


@each
def test_reaches_zero_on_a_half_line_or_not_at_all(phi: Activation) -> None:
    low_end, high_end = phi.value(GRID)[:100], phi.value(GRID)[-100:]
    assert phi.reaches_zero == bool((low_end == 0).all() or (high_end == 0).all())


@given(z=st.floats(-30, 30).filter(lambda z: abs(z) > 1e-6), index=st.integers(0, len(FAMILY) - 1))
def test_a_above_the_threshold_exactly_where_z_is_positive(z: float, index: int) -> None:
    phi = FAMILY[index]
    threshold = phi.positive_threshold
    if threshold is not None:
        assert (phi.value(z) > threshold) == (z > 0)


@each
def test_the_threshold_is_given_wherever_the_sign_can_be_read(phi: Activation) -> None:
    """Without a threshold there is truly none: some z <= 0 reaches as high as some z > 0."""
    a = phi.value(GRID)
    separated = a[GRID <= 0].max() < a[GRID > 0].min()
    touching = phi.value(0.0) == a[GRID > 0].min()  # flat above zero: z > 0 is not told from z = 0
    rounds_across = phi == Activation.named("Gelu", approximate=1.0)  # in float32, the last test shows it
    if phi.positive_threshold is None:
        assert touching or rounds_across or not separated


@each
def test_plateaus_are_flat_and_nothing_flat_is_missed(phi: Activation) -> None:
    low, high = phi.plateaus(FLAT)
    a, slope = phi.value(GRID), np.abs(phi.derivative(GRID))
    on = np.zeros(len(a), bool)
    if low is not None:
        on |= a <= low
    if high is not None:
        on |= a >= high
    assert (slope[on] <= FLAT * (1 + 1e-9)).all()
    ends = np.abs(GRID) > 12  # what is flat far out is a plateau, or zero
    missed = ends & ~on & (slope <= FLAT / 2) & (np.abs(a) > 1e-3)
    assert not missed.any()


@each
def test_the_zero_plateau_is_flat_and_nearly_zero(phi: Activation) -> None:
    edge = phi.zero_plateau_below
    if edge is None:
        return
    below = np.linspace(edge - 30, edge, 5001)
    assert np.abs(phi.value(below)).max() <= 1.0001e-3
    assert np.abs(phi.derivative(below)).max() < FLAT
    small = np.abs(phi.value(GRID)) <= 1e-3
    assert phi.zero_plateau_needs_z == bool((small & (edge < GRID)).any())


ORACLES: list[tuple[Activation, Callable[[Any], Any]]] = [
    (Activation.named("Sigmoid"), special.expit),
    (Activation.named("Gelu"), lambda z: z * special.ndtr(z)),
    (Activation.named("Swish", alpha=1.702), lambda z: z * special.expit(1.702 * z)),
    (Activation.named("Softplus"), lambda z: -special.log_expit(-z)),
    (Activation.named("Mish"), lambda z: z * np.tanh(-special.log_expit(-z))),
    (Activation.named("HardSwish"), lambda z: z * np.minimum(np.maximum(z + 3, 0), 6) / 6),
]


@pytest.mark.parametrize(("phi", "oracle"), ORACLES, ids=lambda value: getattr(value, "name", ""))
def test_values_equal_scipys(phi: Activation, oracle: Callable[[Any], Any]) -> None:
    np.testing.assert_allclose(phi.value(GRID), oracle(GRID), rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore")
def test_values_and_derivatives_equal_torchs() -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    pairs = {
        "Relu": functional.relu,
        "LeakyRelu": lambda z: functional.leaky_relu(z, 0.01),
        "Elu": functional.elu,
        "Selu": functional.selu,
        "Celu": functional.celu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "HardSwish": functional.hardswish,
        "Softplus": functional.softplus,
        "Softsign": functional.softsign,
        "Mish": functional.mish,
        "Gelu": functional.gelu,
        "Swish": functional.silu,
    }
    z = torch.tensor(GRID, requires_grad=True)
    for name, function in pairs.items():
        phi = Activation.named(name)
        value = function(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
        tolerance = 1e-6 if name == "Selu" else 1e-8  # ONNX's constants have float32 digits
        np.testing.assert_allclose(phi.value(GRID), value.detach(), rtol=tolerance, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(phi.derivative(GRID), slope, rtol=tolerance, atol=1e-8, err_msg=name)


def test_known_minima_of_gelu_and_silu() -> None:
    """Errata: GELU′ vanishes at z = -0.7518, SiLU′ at -1.2785; their largest slopes are 1.1289 and 1.0998."""
    gelu, silu = Activation.named("Gelu"), Activation.named("Swish")
    assert abs(gelu.derivative(-0.7518)) < 1e-4
    assert abs(silu.derivative(-1.2785)) < 1e-4
    assert gelu.derivative(math.sqrt(2)) == pytest.approx(1.12890, abs=1e-5)
    assert silu.derivative(2.3994) == pytest.approx(1.09984, abs=1e-5)


@pytest.mark.parametrize(
    ("phi", "expected"),
    [
        (Activation.named("Relu"), (None, None)),
        (Activation.named("Clip", min=0, max=6), (None, 6.0)),
        (Activation.named("Clip", min=-1, max=1), (-1.0, 1.0)),
        (Activation.named("Clip"), (None, None)),
        (Activation.named("HardSigmoid"), (0.0, 1.0)),
        (Activation.named("Softsign"), (-0.9, 0.9)),
        (Activation.named("Tanh"), (-math.sqrt(0.99), math.sqrt(0.99))),
        (Activation.named("Elu", alpha=2), (-1.99, None)),
        (Activation.named("Celu", alpha=2), (-1.98, None)),
        (Activation.named("Gelu"), (None, None)),
        (Activation.named("SwiGLU"), (None, None)),
        (Activation.named("LSTM"), (None, None)),
    ],
)
def test_plateaus_of(phi: Activation, expected: tuple[float | None, float | None]) -> None:
    assert phi.plateaus(FLAT) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "parameters", "threshold"),
    [
        ("Sigmoid", {}, 0.5),
        ("Softplus", {}, 0.693147182464599609375),
        ("HardSigmoid", {"alpha": 0.2, "beta": 0.3}, 0.3),
        ("Gelu", {}, 0.0),
        ("Gelu", {"approximate": 1.0}, None),
        ("LeakyRelu", {"alpha": -0.1}, None),
        ("PRelu", {"slope_min": -0.1, "slope_max": 0.5}, None),
        ("ThresholdedRelu", {"alpha": 1.0}, None),
        ("Clip", {"min": 0.5, "max": 1.0}, None),
        ("Clip", {"min": -2.0, "max": 0.0}, None),
        ("SwiGLU", {}, 0.0),
        ("GRU", {}, 0.0),
    ],
)
def test_positive_threshold_of(name: str, parameters: dict[str, float], threshold: float | None) -> None:
    assert Activation.named(name, **parameters).positive_threshold == threshold


@pytest.mark.parametrize(
    ("name", "dead", "saturation"),
    [
        ("Relu", "high", "none"),
        ("LeakyRelu", "none", "none"),
        ("Elu", "none", "moderate"),
        ("Gelu", "low", "none"),
        ("Swish", "low", "none"),
        ("Sigmoid", "low", "high"),
        ("Tanh", "none", "high"),
    ],
)
def test_risks_agree_with_table_1(name: str, dead: str, saturation: str) -> None:
    phi = Activation.named(name)
    assert phi.dead_risk.split(":")[0] == dead
    assert phi.saturation_risk.split(":")[0] == saturation


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("Rulu", {}, "'Rulu' is unknown"),
        ("Relu", {"alpha": 1.0}, "no parameter 'alpha'"),
        ("Elu", {"alpha": math.inf}, "alpha is inf"),
        ("Elu", {"alpha": math.nan}, "alpha is nan"),
        ("\x1b[31m", {}, r"\\x1b"),
    ],
)
def test_refuses(name: str, parameters: dict[str, float], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        Activation.named(name, **parameters)


@pytest.mark.parametrize("name", [*GATED.values(), "Gated", "LSTM", "GRU", "RNN"])
def test_products_and_recurrent_units_have_no_value_of_one_z(name: str) -> None:
    phi = Activation.named(name)
    assert not phi.elementwise
    with pytest.raises(ValueError, match="not a function of one"):
        phi.value(0.0)


def test_prelu_whose_slope_differs_between_channels_is_not_guessed() -> None:
    phi = Activation.named("PRelu", slope_min=0.1, slope_max=0.2)
    np.testing.assert_array_equal(phi.value([-1.0, 2.0]), [np.nan, 2.0])


@pytest.mark.parametrize(("approximate", "parameter"), [("none", 0.0), ("tanh", 1.0)])
def test_the_sign_of_z_is_read_off_gelu_only_where_rounding_lets_it(
    approximate: str, parameter: float
) -> None:
    """1 + tanh u ends an ulp or two beside zero where z is about -5, so that a > 0 there."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    z = (3 * np.random.default_rng(0).standard_normal(300_000)).astype(np.float32)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "za"]
    node = onnx.helper.make_node("Gelu", ["z"], ["a"], approximate=approximate)
    graph = onnx.helper.make_graph([node], "gelu", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    (a,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"z": z})
    threshold = Activation.named("Gelu", approximate=parameter).positive_threshold
    if threshold is None:
        assert a[z < 0].max() > a[z > 0].min() or a[z < 0].max() > 0
    else:
        np.testing.assert_array_equal(a > threshold, z > 0)
