"""Every rule against onnxruntime, and what has no rule."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from lowering_graphs import held, lowered, model, weights
from operator_cases import BENCHMARKS, GRAPHS, REFUSED
from pair_cases import PAIRED

from nla.certificates.proving import prove
from nla.certificates.sets import Box, anywhere


@pytest.mark.parametrize("graph", [*GRAPHS, *PAIRED], ids=str)
def test_values_and_bounds_hold_what_onnxruntime_computes(graph, tmp_path):
    made = lowered(model(graph.body, graph.inputs, "y", graph.opset, **graph.arrays), tmp_path, graph.shapes)
    held(made, ["y"], graph.low, graph.high, close=graph.close)


@pytest.mark.parametrize("graph", BENCHMARKS, ids=str)
def test_networks_of_a_verifiers_kinds_have_sites(graph, tmp_path):
    network = lowered(model(graph.body, graph.inputs, "y", graph.opset, **graph.arrays), tmp_path).network
    assert network.targets
    assert all("never rests at zero" in reason for reason in network.reasons.values())
    found = prove(
        network,
        {name: Box(np.zeros(shape), np.ones(shape)) for name, shape in network.inputs.items()},
        {target.site: np.arange(target.neurons) for target in network.targets},
    )
    assert set(found) == {target.site for target in network.targets}


@pytest.mark.parametrize(("graph", "why"), REFUSED, ids=lambda value: getattr(value, "name", ""))
def test_an_operator_without_a_rule_gives_a_reason_and_no_bound(graph, why, tmp_path):
    """A layer of zero weights behind it would be silent whatever it reads; still nothing is claimed of it."""
    body = f"{graph.body}\n k = Flatten(h)\n z = Gemm(k, zero, low)\n y = Relu(z)"
    size = {"average-ceil": 24, "samples-joined": 4, "samples-made": 4, "two-vary": 1, "two-vary-einsum": 1}
    wide = size.get(
        graph.name, {"enlarged-smoothly": 252, "enlarged-by-cubes": 336, "indices": 60}.get(graph.name, 4)
    )
    arrays = {**graph.arrays, "zero": np.zeros((wide, 3), np.float32), "low": -(weights(3) ** 2)}
    made = model(body, graph.inputs, "y", graph.opset, **arrays)
    network = lowered(made, tmp_path, graph.shapes).network
    assert not network.targets
    (reason,) = network.reasons.values()
    assert re.search(why, reason), reason


def test_silence_that_needs_no_input_is_found_behind_a_bounded_activation(tmp_path):
    """Tan has no rule; a sigmoid of it lies between 0 and 1 all the same."""
    made = model(
        "h = Tan(x)\n a = Gemm(h, v)\n s = Sigmoid(a)\n z = Gemm(s, w, b)\n y = Relu(z)",
        v=weights(4, 5),
        w=np.ones((5, 2), np.float32),
        b=np.array([-5.1, -4.9], np.float32),
    )
    network = lowered(made, tmp_path).network
    (target,) = network.targets
    found = prove(network, {"x": anywhere((4,))}, {target.site: [0, 1]})[target.site]
    assert found.certified.tolist() == [True, False]


def test_an_embedding_lies_within_its_table(tmp_path):
    table = weights(7, 4)
    made = model(
        "e = Gather(t, x)\n z = MatMul(e, w)\n a = Add(z, b)\n y = Relu(a)",
        "int64[1, 3] x",
        t=table,
        w=np.eye(4, dtype=np.float32),
        b=-table.max(axis=0) - np.array([1e-3, 1e-3, -1e-3, -1e-3], np.float32),
    )
    network = lowered(made, tmp_path).network
    (target,) = network.targets
    found = prove(network, {"x": anywhere((3,))}, {target.site: range(4)})[target.site]
    assert found.certified.tolist() == [True, True, False, False]


def test_half_precision_weights_make_half_precision_rounding(tmp_path):
    made = model(
        "h = Cast<to=10>(x)\n z = MatMul(h, w)\n a = Add(z, b)\n r = Relu(a)\n y = Cast<to=1>(r)",
        w=weights(4, 3, dtype=np.float16),
        b=weights(3, dtype=np.float16),
    )
    case = lowered(made, tmp_path)
    assert case.network.unit == 2.0**-11
    held(case, ["y"], close=4e-3)
    assert len(case.network.targets) == 1


def test_a_form_with_other_constants_is_not_taken_for_the_activation(tmp_path):
    """GELU with 1.5 for √2 is no GELU; with 1.414 it is one whose envelope has room for it."""
    for root, taken in ((1.41421354, True), (1.4142, True), (1.5, False)):
        made = model(
            "z = Gemm(x, w)\n d = Div(z, c)\n e = Erf(d)\n a = Add(e, o)\n m = Mul(z, a)\n g = Mul(m, h)\n"
            " q = Gemm(g, v)\n y = Relu(q)",
            w=weights(4, 6),
            v=weights(6, 3),
            c=np.float32(root) * np.ones((), np.float32),
            o=np.ones((), np.float32),
            h=np.float32(0.5) * np.ones((), np.float32),
        )
        case = lowered(made, tmp_path)
        assert bool(case.network.targets) == taken, root
        if taken:
            loose = next(op for op in case.network.ops if op.output == "g").loose
            assert loose == (root == 1.4142)
            held(case, ["g"], -3, 3, close=1e-3)


@pytest.mark.parametrize(
    ("form", "constant", "rests"),
    [
        ("d = Mul(z, k)\n e = Erf(d)\n m = Mul(e, c)\n a = Add(m, h)\n y = Mul(z, a)", 0.5, True),
        ("d = Mul(z, k)\n e = Erf(d)\n m = Mul(e, c)\n a = Add(m, h)\n y = Mul(z, a)", 0.5018, False),
        ("d = Add(z, c)\n e = Clip(d, o, six)\n m = Mul(z, e)\n y = Div(m, six)", 3.0, True),
        ("d = Add(z, c)\n e = Clip(d, o, six)\n m = Mul(z, e)\n y = Div(m, six)", 3.01, False),
        ("g = Greater(z, c)\n y = Where(g, z, o)", 5.3, True),
        ("g = GreaterOrEqual(z, c)\n y = Where(g, z, o)", 5.3, False),
    ],
)
def test_a_site_is_asked_about_only_where_its_form_rests_at_zero(form, constant, rests, tmp_path):
    """Constants that are off by less than the envelope has room for: GELU by 0.5018 is 0.07 at z = -40."""
    numbers = {"k": 0.5**0.5, "h": 0.5, "o": 0.0, "six": 6.0, "c": constant}
    scalars = {key: np.full((), value, np.float32) for key, value in numbers.items()}
    network = lowered(model(f"z = Gemm(x, w)\n {form}", w=weights(4, 6), **scalars), tmp_path).network
    assert bool(network.targets) == rests, network.reasons


_TURNED = (
    "z = Conv(x, w, b)\n t = Transpose<perm=[0,2,1]>(z)\n d = Div(z, c)\n u = Transpose<perm=[0,2,1]>(d)\n"
    " e = Erf(u)\n a = Add(e, o)\n m = Mul(t, a)\n y = Mul(m, h)"
)


def _turned(body, folder):
    b = np.where(np.arange(4) == 1, -100, 0).astype(np.float32)
    halves = {
        "c": np.full((), 2**0.5, np.float32),
        "o": np.ones((), np.float32),
        "h": np.full((), 0.5, np.float32),
    }
    return lowered(model(body, "float[1, 2, 4] x", w=weights(4, 2, 1), b=b, **halves), folder).network


def test_a_site_whose_activation_is_laid_out_otherwise_than_z_has_its_neurons_where_z_has_them(tmp_path):
    """The channels of z are its second axis, those of the activation its last: of equal size they could be mixed up."""
    network = _turned(_TURNED, tmp_path)
    (target,) = network.targets
    assert (target.axis, target.order) == (0, (1, 0))
    box = {"x": Box(-np.ones((2, 4)), np.ones((2, 4)))}
    assert prove(network, box, {"y": range(4)})["y"].certified.tolist() == [False, True, False, False]


def test_a_form_of_parts_that_are_laid_out_apart_is_not_asked_about(tmp_path):
    assert not _turned(_TURNED.replace("e = Erf(u)", "e = Erf(d)"), tmp_path).targets


def test_weights_that_are_inputs_too_are_taken_as_stored(tmp_path):
    made = model("z = MatMul(x, w)\n y = Relu(z)", w=weights(4, 3))
    made.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 3]))
    assert lowered(made, tmp_path).network.inputs == {"x": (4,)}
