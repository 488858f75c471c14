"""Every form in which an activation is written is recognised, and computes what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from site_graphs import feeds, find, model, run

from nla.activations import Activation

HALF = np.float32(0.5)
TWO_PI = np.float32(np.sqrt(2 / np.pi))
S = {  # scalars that the forms use
    "half": HALF,
    "one": np.float32(1),
    "two": np.float32(2),
    "three": np.float32(3),
    "six": np.float32(6),
    "sixth": np.float32(1 / 6),
    "zero": np.float32(0),
    "neg": np.float32(-1),
    "root2": np.float32(np.sqrt(2)),
    "root_half": np.float32(np.sqrt(0.5)),
    "c": np.float32(0.044715),
    "k": TWO_PI,
    "k2": np.float32(2 * TWO_PI),
    "q": np.float32(1.702),
    "fifth": np.float32(0.2),
    "tenth": np.float32(0.1),
    "twenty": np.float32(20),
}


def named(name: str, **parameters: float) -> Activation:
    return Activation.named(name, **parameters)


GELU, TANH_GELU = named("Gelu"), named("Gelu", approximate=1.0)
RELU6 = named("Clip", min=0.0, max=6.0)
FORMS = {
    "Relu": ("a = Relu(z)", named("Relu")),
    "LeakyRelu": ("a = LeakyRelu<alpha=0.3>(z)", named("LeakyRelu", alpha=0.3)),
    "Elu": ("a = Elu<alpha=0.5>(z)", named("Elu", alpha=0.5)),
    "Selu": ("a = Selu(z)", named("Selu")),
    "Celu": ("a = Celu<alpha=2.0>(z)", named("Celu", alpha=2.0)),
    "ThresholdedRelu": ("a = ThresholdedRelu<alpha=0.7>(z)", named("ThresholdedRelu", alpha=0.7)),
    "Sigmoid": ("a = Sigmoid(z)", named("Sigmoid")),
    "Tanh": ("a = Tanh(z)", named("Tanh")),
    "HardSigmoid": ("a = HardSigmoid(z)", named("HardSigmoid")),
    "HardSwish": ("a = HardSwish(z)", named("HardSwish")),
    "Softplus": ("a = Softplus(z)", named("Softplus")),
    "Softsign": ("a = Softsign(z)", named("Softsign")),
    "Mish": ("a = Mish(z)", named("Mish")),
    "Gelu": ("a = com.microsoft.Gelu(z)", GELU),
    "QuickGelu": ("a = com.microsoft.QuickGelu(z)", named("Swish", alpha=1.702)),
    "FastGelu": ("a = com.microsoft.FastGelu(z)", TANH_GELU),
    "Clip by operands": ("a = Clip(z, zero, six)", RELU6),
    "Clip below only": ("a = Clip(z, zero)", named("Clip", min=0.0)),
    "Clip above only": ("a = Clip(z, , six)", named("Clip", max=6.0)),
    "Relu by Max": ("a = Max(zero, z)", named("Relu")),
    "ReLU6 by Min of Relu": ("r = Relu(z) a = Min(r, six)", RELU6),
    "ReLU6 by Min of Max": ("r = Max(z, zero) a = Min(six, r)", RELU6),
    "ReLU6 by Clip of Relu": ("r = Relu(z) a = Clip(r, , six)", RELU6),
    "LeakyRelu by Max": ("s = Mul(z, tenth) a = Max(z, s)", named("LeakyRelu", alpha=0.1)),
    "LeakyRelu by Where": (
        "p = Greater(z, zero) s = Mul(z, tenth) a = Where(p, z, s)",
        named("LeakyRelu", alpha=0.1),
    ),
    "Relu by Where": ("p = GreaterOrEqual(z, zero) a = Where(p, z, zero)", named("Relu")),
    "Relu by Where of Less": ("p = Less(z, zero) a = Where(p, zero, z)", named("Relu")),
    "Elu by Where": ("p = Greater(z, zero) e = Exp(z) m = Sub(e, one) a = Where(p, z, m)", named("Elu")),
    "Softplus by Where": ("p = Greater(z, twenty) s = Softplus(z) a = Where(p, z, s)", named("Softplus")),
    "Erf GELU, torch": (
        "d = Div(z, root2) e = Erf(d) p = Add(e, one) m = Mul(z, p) a = Mul(m, half)",
        GELU,
    ),
    "Erf GELU, half first": (
        "h = Mul(half, z) s = Mul(z, root_half) e = Erf(s) p = Add(one, e) a = Mul(h, p)",
        GELU,
    ),
    "Erf GELU, half on the bracket": (
        "d = Div(z, root2) e = Erf(d) p = Add(e, one) h = Mul(p, half) a = Mul(h, z)",
        GELU,
    ),
    "Erf GELU, half spread": (
        "d = Div(z, root2) e = Erf(d) f = Mul(e, half) p = Add(f, half) a = Mul(z, p)",
        GELU,
    ),
    "Erf GELU, division by two": (
        "d = Div(z, root2) e = Erf(d) p = Add(e, one) m = Mul(z, p) a = Div(m, two)",
        GELU,
    ),
    "tanh GELU by Pow": (
        "c3 = Pow(z, three) t = Mul(c3, c) u = Add(z, t) v = Mul(u, k) w0 = Tanh(v) p = Add(w0, one)"
        " h = Mul(z, half) a = Mul(h, p)",
        TANH_GELU,
    ),
    "tanh GELU by products": (
        "s = Mul(z, z) s3 = Mul(s, z) t = Mul(c, s3) u = Add(z, t) v = Mul(k, u) w0 = Tanh(v)"
        " p = Add(one, w0) h = Mul(p, half) a = Mul(z, h)",
        TANH_GELU,
    ),
    "tanh GELU factored": (
        "s = Mul(z, z) t = Mul(s, c) u = Add(one, t) v = Mul(k, z) w0 = Mul(v, u) t0 = Tanh(w0)"
        " p = Add(t0, one) m = Mul(z, p) a = Mul(m, half)",
        TANH_GELU,
    ),
    "tanh GELU by Sigmoid": (
        "s = Mul(z, z) s3 = Mul(s, z) t = Mul(c, s3) u = Add(z, t) v = Mul(k2, u) g = Sigmoid(v) a = Mul(z, g)",
        TANH_GELU,
    ),
    "SiLU": ("s = Sigmoid(z) a = Mul(z, s)", named("Swish")),
    "SiLU, other side": ("s = Sigmoid(z) a = Mul(s, z)", named("Swish")),
    "QuickGelu decomposed": ("q0 = Mul(z, q) s = Sigmoid(q0) a = Mul(z, s)", named("Swish", alpha=1.702)),
    "SiLU by Exp": ("n = Neg(z) e = Exp(n) p = Add(e, one) a = Div(z, p)", named("Swish")),
    "Sigmoid by Exp": ("n = Mul(z, neg) e = Exp(n) p = Add(one, e) a = Div(one, p)", named("Sigmoid")),
    "Sigmoid by Reciprocal": ("n = Neg(z) e = Exp(n) p = Add(one, e) a = Reciprocal(p)", named("Sigmoid")),
    "HardSwish by HardSigmoid": (
        "s = HardSigmoid<alpha=0.16666667, beta=0.5>(z) a = Mul(z, s)",
        named("HardSwish"),
    ),
    "HardSwish by Clip": (
        "p = Add(z, three) r = Clip(p, zero, six) m = Mul(z, r) a = Div(m, six)",
        named("HardSwish"),
    ),
    "HardSwish by Clip, scaled first": (
        "p = Add(three, z) r = Clip(p, zero, six) m = Mul(r, sixth) a = Mul(z, m)",
        named("HardSwish"),
    ),
    "HardSwish by Relu and Min": (
        "p = Add(z, three) r = Relu(p) m = Min(r, six) n = Mul(m, z) a = Mul(n, sixth)",
        named("HardSwish"),
    ),
    "HardSigmoid by Clip": (
        "m = Mul(z, fifth) p = Add(m, half) a = Clip(p, zero, one)",
        named("HardSigmoid"),
    ),
    "HardSigmoid by Clip, sixfold": (
        "p = Add(z, three) r = Clip(p, zero, six) a = Div(r, six)",
        named("HardSigmoid", alpha=1 / 6, beta=0.5),
    ),
    "Mish by Softplus": ("s = Softplus(z) t = Tanh(s) a = Mul(z, t)", named("Mish")),
    "Mish by Log": ("e = Exp(z) p = Add(e, one) s = Log(p) t = Tanh(s) a = Mul(t, z)", named("Mish")),
    "Softplus by Log": ("e = Exp(z) p = Add(one, e) a = Log(p)", named("Softplus")),
    "Softsign by Abs": ("n = Abs(z) p = Add(n, one) a = Div(z, p)", named("Softsign")),
    "through a cast": ("f = Cast<to=1>(z) s = Sigmoid(f) a = Mul(z, s)", named("Swish")),
}


def graph(form: str, opset: int = 18):  # type: ignore[no-untyped-def]
    body = form.replace(" a = ", "\na = ")
    return model(
        "float[N,5] x => float[N,3] y",
        f"z = Gemm(x, w, b)\n{body}\ny = Gemm(a, out)",
        {"w": (5, 4), "b": (4,), "out": (4, 3), **S},
        opset,
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_one_site_that_computes_what_its_name_says(form: str) -> None:
    text, expected = FORMS[form]
    proto = graph(text, 22)
    sites, left_alone = find(proto)
    assert list(sites) == ["a"], left_alone
    assert not left_alone
    site = sites["a"]
    assert site.activation.name == expected.name
    assert dict(site.activation.parameters) == pytest.approx(dict(expected.parameters), rel=1e-4)
    assert (site.neurons, site.channel_axes, site.pre, site.role) == (4, (-1,), "z", "dense")
    z, a = run(proto, feeds(proto, 64), ["z", "a"])
    np.testing.assert_allclose(a, site.activation.value(z), rtol=1e-4, atol=2e-5)


def test_operators_of_later_opsets_are_recognised() -> None:
    for text, expected in (
        ("a = Gelu(z)", GELU),
        ('a = Gelu<approximate="tanh">(z)', TANH_GELU),
    ):
        sites, _ = find(graph(text, 20))
        assert sites["a"].activation == expected
    sites, _ = find(graph("a = Swish<alpha=1.5>(z)", 24))
    assert sites["a"].activation == named("Swish", alpha=1.5)


def test_clip_with_attributes_of_early_opsets() -> None:
    sites, _ = find(graph("a = Clip<min=0.0, max=6.0>(z)", 9))
    assert sites["a"].activation == RELU6
    sites, _ = find(graph("a = Clip<min=0.0, max=3.4028235e38>(z)", 9))
    assert sites["a"].activation == named("Clip", min=0.0)


@pytest.mark.parametrize(
    "slope", [np.full(4, 0.1, np.float32), np.arange(4, dtype=np.float32), np.float32([0.3])]
)
def test_prelu_keeps_the_range_of_its_slopes(slope: np.ndarray) -> None:
    proto = model(
        "float[N,5] x => float[N,4] y", "z = Gemm(x, w)\ny = PRelu(z, s)", {"w": (5, 4), "s": slope}
    )
    site = find(proto)[0]["y"]
    assert dict(site.activation.parameters) == {
        "slope_min": pytest.approx(float(slope.min())),
        "slope_max": pytest.approx(float(slope.max())),
    }
    assert site.parameters_in == 5 + (len(slope) > 1)


def test_prelu_as_keras_writes_it_is_one_site() -> None:
    body = "z = Gemm(x, w)\np = Relu(z)\nn = Neg(z)\nr = Relu(n)\nm = Mul(r, s)\ny = Add(p, m)"
    slope = np.float32([-0.1, -0.2, -0.3, -0.4])
    sites, left_alone = find(model("float[N,5] x => float[N,4] y", body, {"w": (5, 4), "s": slope}))
    assert list(sites) == ["y"]
    assert not left_alone
    assert dict(sites["y"].activation.parameters) == pytest.approx({"slope_min": 0.1, "slope_max": 0.4})


def test_bias_inside_the_operator_leaves_no_tensor_for_z() -> None:
    for operator in ("BiasGelu", "FastGelu"):
        body = f"m = MatMul(x, w)\na = com.microsoft.{operator}(m, b)\ny = MatMul(a, v)"
        weights = {"w": (5, 4), "b": (4,), "v": (4, 3)}
        site = find(model("float[N,5] x => float[N,3] y", body, weights))[0]["a"]
        assert (site.activation.name, site.pre, site.parameters_in) == ("Gelu", None, 6)


def test_fused_operators_apply_their_own_activation() -> None:
    body = (
        'a = com.microsoft.FusedConv<activation="LeakyRelu", activation_params=[0.2]>(x, w, b)\n'
        "f = Flatten(a)\n"
        'y = com.microsoft.FusedGemm<activation="Sigmoid">(f, v)'
    )
    proto = model("float[N,3,4,4] x => float[N,2] y", body, {"w": (6, 3, 3, 3), "b": (6,), "v": (24, 2)})
    for value, shape in (("a", ["N", 6, 2, 2]), ("f", ["N", 24])):
        import onnx

        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(value, 1, shape))
    sites, _ = find(proto)
    assert dict(sites["a"].activation.parameters) == pytest.approx({"alpha": 0.2})
    assert (sites["a"].channel_axes, sites["a"].neurons, sites["a"].pre) == ((-3,), 6, None)
    assert sites["y"].activation == named("Sigmoid")


def test_an_unknown_fused_activation_is_listed() -> None:
    body = 'y = com.microsoft.FusedGemm<activation="Snake">(x, w)'
    sites, left_alone = find(model("float[N,5] x => float[N,4] y", body, {"w": (5, 4)}))
    assert not sites
    assert "Snake" in left_alone["y"].reason


def test_a_product_that_is_no_known_form_is_listed_rather_than_a_part_of_it_taken() -> None:
    body = "z = Gemm(x, w)\ns = Sigmoid(z)\nt = Mul(s, z)\nq = Mul(t, z)\ny = Gemm(q, v)"
    sites, left_alone = find(model("float[N,5] x => float[N,3] y", body, {"w": (5, 4), "v": (4, 3)}))
    assert not sites
    assert "joins it with its own input" in left_alone["t"].reason


def test_wrong_constants_are_not_taken_for_a_gelu() -> None:
    text = "d = Div(z, two) e = Erf(d) p = Add(e, one) m = Mul(z, p) a = Mul(m, half)"
    sites, left_alone = find(graph(text))
    assert "a" not in sites
    assert list(left_alone) == ["e"]
