"""onnxruntime, which folds and fuses operators, stays within bounds that are made operator by operator."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from certified_networks import in_single, normal, single
from onnx import TensorProto, helper, numpy_helper

from nla.activations import Activation
from nla.certificates.interval import ranges
from nla.certificates.network import Network
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Sum
from nla.certificates.ops.linear import Scale
from nla.certificates.ops.windows import Conv, Window
from nla.certificates.sets import Box


def block(rng, channels, size):
    """Conv, BatchNormalization whose parts cancel, a residual that takes it back, ReLU: as a model and as a network."""
    weight = normal(rng, channels, channels, 3, 3, scale=0.1)
    gamma, mean = normal(rng, channels), normal(rng, channels, scale=3000)
    variance = np.abs(normal(rng, channels)) + 0.125
    factor = gamma / np.sqrt(variance + 1e-5)
    beta = single(mean * factor)
    shape = (channels, size, size)
    arrays = {"w": weight, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["b"]),
        helper.make_node("Add", ["b", "y"], ["s"]),
        helper.make_node("Relu", ["s"], ["a"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name in ("x", "y")]
    outputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, *shape])]
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "block", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    along = (-1, 1, 1)
    conv = Conv(("x",), "c", weight, Window((3, 3), pads=(1, 1, 1, 1)))
    parts = factor, beta - mean * factor, np.abs(beta) + np.abs(mean * factor)
    ops = (
        conv,
        Scale(("c",), "b", *(part.reshape(along) for part in parts)),
        Sum(("b", "y"), "s", 1, conv.terms),
        Activate(("s",), "a", Activation.named("Relu")),
    )
    return model, Network(ops, {"x": shape, "y": shape})


@pytest.mark.parametrize("level", ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL"])
def test_fused_operators_stay_in_the_box(level):
    rng = np.random.default_rng(0)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    strayed = 0.0
    for _ in range(6):
        model, network = block(rng, 16, 5)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        x = normal(rng, 16, 5, 5)
        y = -network.forward({"x": x[None], "y": np.zeros((1, 16, 5, 5))}, ["b"])["b"][0]  # all cancels
        feeds = {"x": x, "y": y.astype(np.float32).astype(np.float64)}
        # a box of one point: what the bounds leave is for rounding alone
        box = ranges(network, {name: Box(value, value) for name, value in feeds.items()}).boxes["a"]
        made = session.run(None, {name: value[None].astype(np.float32) for name, value in feeds.items()})[0][
            0
        ]
        own = in_single(network, {name: value[None] for name, value in feeds.items()}, ["a"], rng)["a"][0]
        exact = network.forward({name: value[None] for name, value in feeds.items()}, ["a"])["a"][0]
        for value in (made, own):
            assert (value <= box.hi).all()
            assert (value >= box.lo).all()
        strayed = max(strayed, float(np.abs(made - exact).max()))
    assert strayed > 1e-6  # or the test shows nothing
