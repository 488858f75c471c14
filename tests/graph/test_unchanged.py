"""A neuron is unchanged where its incoming weights and bias equal the initial checkpoint's, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from nla.errors import ModelError
from nla.graph.digests import weight_digests
from nla.graph.find import find_sites
from nla.graph.unchanged import unchanged_neurons

TEXT = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[n,3] x) => (float[n,2] y)
<float[4,3] w0, float[4] b0, float[2,4] w1, float[2] b1>
{
  z = Gemm <transB = 1> (x, w0, b0)
  a = Relu (z)
  y = Gemm <transB = 1> (a, w1, b1)
}
"""


def network(**changes: tuple[int, ...]) -> ir.Model:
    """The network with 1 added to a weight or bias at each given place."""
    proto = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    del proto.graph.initializer[:]
    for name, shape in {"w0": (4, 3), "b0": (4,), "w1": (2, 4), "b1": (2,)}.items():
        value = rng.normal(size=shape).astype(np.float32)
        if name in changes:
            value[changes[name]] += 1
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    return ir.from_proto(proto)


def flags(initial: ir.Model) -> list[bool]:
    model = network()
    sites, _ = find_sites(model)
    return unchanged_neurons(model, initial, sites)["a"].tolist()


def test_nothing_changed() -> None:
    assert flags(network()) == [True] * 4


def test_one_weight_or_one_bias_is_a_change() -> None:
    assert flags(network(w0=(2, 1))) == [True, True, False, True]
    assert flags(network(b0=(0,))) == [False, True, True, True]


def test_outgoing_weights_do_not_matter() -> None:
    assert flags(network(w1=(1, 3))) == [True] * 4


def test_nan_weights_are_not_equal_to_themselves_and_count_as_changed() -> None:
    model = network()
    model.graph.initializers["w0"].const_value = ir.tensor(np.full((4, 3), np.nan, np.float32), name="w0")
    sites, _ = find_sites(model)
    assert not unchanged_neurons(model, model, sites)["a"].any()


def test_another_network_is_refused() -> None:
    other = network()
    other.graph.initializers["w0"].const_value = ir.tensor(np.zeros((5, 3), np.float32), name="w0")
    model = network()
    sites, _ = find_sites(model)
    with pytest.raises(ModelError, match="shares no weight"):
        unchanged_neurons(model, other, sites)


BESIDE = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[n,3] x) => (float[n,2] y)
<float[3,4] w0, float[4] b0, float[4] scale, float[4] shift, float[4] mean, float[4] variance, float[4,2] w1>
{
  p = MatMul (x, w0)
  q = Add (b0, p)
  z = BatchNormalization (q, scale, shift, mean, variance)
  a = Relu (z)
  y = MatMul (a, w1)
}
"""


@pytest.mark.parametrize("moved", ["w0", "b0", "scale", "shift", "mean", "variance"])
def test_a_bias_that_a_node_of_its_own_adds_and_a_batch_norm_count_too(moved: str) -> None:
    rng = np.random.default_rng(1)
    shapes = {"w0": (3, 4), "w1": (4, 2), **dict.fromkeys(("b0", "scale", "shift", "mean", "variance"), (4,))}
    values = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    models = []
    for change in (False, True):
        proto = onnx.parser.parse_model(BESIDE)
        del proto.graph.initializer[:]
        for name, value in values.items():
            held = value.copy()
            if change and name == moved:
                held[..., 2] += 1
            proto.graph.initializer.append(numpy_helper.from_array(held, name))
        models.append(ir.from_proto(proto))
    sites, _ = find_sites(models[1])
    assert unchanged_neurons(models[1], models[0], sites)["a"].tolist() == [True, True, False, True]
    before, after = (weight_digests(model, sites)["a"] for model in models)
    assert (before == after).tolist() == [True, True, False, True]
