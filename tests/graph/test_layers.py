"""The channel axis follows from the layer and the steps after it; the graph itself is asked whether that holds."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto
from site_graphs import assert_channels, find, model

IMAGE = "float[N,3,8,8] x => float[P,Q,R,S] y"
ROWS = "float[N,5] x => float[P,Q] y"
TOKENS = "float[N,7,5] x => float[P,Q,R] y"

LAYERS: dict[str, tuple[ModelProto, int, tuple[int, ...], int, int]] = {
    # model, neurons, channel axes, incoming parameters of a neuron, axis of the weight
    "Gemm": (model(ROWS, "z = Gemm(x, w, b)\ny = Relu(z)", {"w": (5, 4), "b": (4,)}), 4, (-1,), 6, 1),
    "Gemm transB": (
        model(ROWS, "z = Gemm<transB=1>(x, w, b)\ny = Relu(z)", {"w": (4, 5), "b": (4,)}),
        *(4, (-1,), 6, 0),
    ),
    "Gemm transA": (
        model("float[5,6] x => float[P,Q] y", "z = Gemm<transA=1>(x, w)\ny = Relu(z)", {"w": (5, 4)}),
        4,
        (-1,),
        5,
        1,
    ),
    "Gemm, weight on the left": (
        model("float[5,6] x => float[P,Q] y", "z = Gemm(w, x)\ny = Relu(z)", {"w": (4, 5)}),
        *(4, (-2,), 5, 0),
    ),
    "Gemm, weight on the left, both transposed": (
        model(
            "float[6,5] x => float[P,Q] y", "z = Gemm<transA=1, transB=1>(w, x)\ny = Relu(z)", {"w": (5, 4)}
        ),
        *(4, (-2,), 5, 1),
    ),
    "MatMul": (model(TOKENS, "z = MatMul(x, w)\ny = Relu(z)", {"w": (5, 4)}), 4, (-1,), 5, 1),
    "MatMul and Add": (
        model(TOKENS, "m = MatMul(x, w)\nz = Add(b, m)\ny = Relu(z)", {"w": (5, 4), "b": (4,)}),
        *(4, (-1,), 6, 1),
    ),
    "MatMul, weight on the left": (
        model(TOKENS, "m = MatMul(w, x)\nz = Add(m, b)\ny = Relu(z)", {"w": (4, 7), "b": (4, 1)}),
        *(4, (-2,), 8, 0),
    ),
    "MatMul, weight transposed in the graph": (
        model(TOKENS, "t = Transpose(w)\nz = MatMul(x, t)\ny = Relu(z)", {"w": (4, 5)}),
        *(4, (-1,), 5, 0),
    ),
    "MatMul with a leading one": (
        model(TOKENS, "z = MatMul(x, w)\ny = Relu(z)", {"w": (1, 5, 4)}),
        4,
        (-1,),
        5,
        2,
    ),
    "MatMul of flattened tokens": (
        model(
            TOKENS,
            "s = Reshape(x, rows)\nm = MatMul(s, w)\nt = Reshape(m, back)\nz = Add(t, b)\ny = Relu(z)",
            {"w": (5, 4), "b": (4,), "rows": np.int64([-1, 5]), "back": np.int64([-1, 7, 4])},
        ),
        *(4, (-1,), 6, 1),
    ),
    "FusedMatMul": (
        model(TOKENS, "z = com.microsoft.FusedMatMul<transB=1>(x, w)\ny = Relu(z)", {"w": (4, 5)}),
        *(4, (-1,), 5, 0),
    ),
    "Conv": (model(IMAGE, "z = Conv(x, w, b)\ny = Relu(z)", {"w": (6, 3, 3, 3), "b": (6,)}), 6, (-3,), 28, 0),
    "Conv 1 D": (
        model("float[N,3,9] x => float[P,Q,R] y", "z = Conv(x, w)\ny = Relu(z)", {"w": (6, 3, 3)}),
        *(6, (-2,), 9, 0),
    ),
    "Conv 3 D": (
        model(
            "float[N,2,4,4,4] x => float[P,Q,R,S,T] y", "z = Conv(x, w)\ny = Relu(z)", {"w": (3, 2, 2, 2, 2)}
        ),
        *(3, (-4,), 16, 0),
    ),
    "Conv grouped": (
        model(
            "float[N,4,5,5] x => float[P,Q,R,S] y",
            "z = Conv<group=2>(x, w)\ny = Relu(z)",
            {"w": (6, 2, 3, 3)},
        ),
        *(6, (-3,), 18, 0),
    ),
    "Conv depthwise": (
        model(IMAGE, "z = Conv<group=3>(x, w)\ny = Relu(z)", {"w": (6, 1, 3, 3)}),
        6,
        (-3,),
        9,
        0,
    ),
    "ConvTranspose": (
        model(
            IMAGE, "z = ConvTranspose<strides=[2, 2]>(x, w, b)\ny = Relu(z)", {"w": (3, 5, 2, 2), "b": (5,)}
        ),
        *(5, (-3,), 13, 1),
    ),
    "ConvTranspose grouped": (
        model(
            "float[N,4,5,5] x => float[P,Q,R,S] y",
            "z = ConvTranspose<group=2>(x, w)\ny = Relu(z)",
            {"w": (4, 3, 2, 2)},
        ),
        *(6, (-3,), 8, 1),
    ),
    "Conv and BatchNormalization": (
        model(
            IMAGE,
            "c = Conv(x, w)\nz = BatchNormalization(c, g, b, m, v)\ny = Relu(z)",
            {"w": (6, 3, 3, 3), "g": (6,), "b": (6,), "m": (6,), "v": np.ones(6, np.float32)},
        ),
        *(6, (-3,), 31, 0),
    ),
    "Conv, scale and shift per channel": (
        model(
            IMAGE,
            "c = Conv(x, w)\ns = Mul(c, g)\nd = Div(s, h)\nz = Sub(d, b)\ny = Relu(z)",
            {"w": (6, 3, 3, 3), "g": (6, 1, 1), "h": (1, 6, 1, 1), "b": (6, 1, 1)},
        ),
        *(6, (-3,), 30, 0),
    ),
    "Conv, InstanceNormalization": (
        model(
            IMAGE,
            "c = Conv(x, w)\nz = InstanceNormalization(c, g, b)\ny = Relu(z)",
            {"w": (6, 3, 3, 3), "g": (6,), "b": (6,)},
        ),
        *(6, (-3,), 29, 0),
    ),
    "NHWC around the Conv": (
        model(
            "float[N,8,8,3] x => float[P,Q,R,S] y",
            "t = Transpose<perm=[0,3,1,2]>(x)\nc = Conv(t, w)\nh = Transpose<perm=[0,2,3,1]>(c)\n"
            "z = Add(h, b)\ny = Relu(z)",
            {"w": (6, 3, 3, 3), "b": (6,)},
        ),
        *(6, (-1,), 28, 0),
    ),
    "Conv 1 D as TensorFlow has it": (
        model(
            "float[N,9,3] x => float[P,Q,R] y",
            "u = Unsqueeze(x, one)\nt = Transpose<perm=[0,3,1,2]>(u)\nc = Conv(t, w)\ns = Squeeze(c, two)\n"
            "z = Transpose<perm=[0,2,1]>(s)\ny = Relu(z)",
            {"w": (6, 3, 1, 3), "one": np.int64([1]), "two": np.int64([2])},
        ),
        *(6, (-1,), 9, 0),
    ),
    "pooled before the activation": (
        model(
            IMAGE,
            "c = Conv(x, w)\np = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)\nz = GlobalAveragePool(p)\ny = Relu(z)",
            {"w": (6, 3, 3, 3)},
        ),
        *(6, (-3,), 27, 0),
    ),
    "mean over the pixels, flat": (
        model(
            "float[N,3,8,8] x => float[P,Q] y",
            "c = Conv(x, w)\nz = ReduceMean<keepdims=0>(c, axes)\ny = Relu(z)",
            {"w": (6, 3, 3, 3), "axes": np.int64([2, 3])},
        ),
        *(6, (-1,), 27, 0),
    ),
    "padded, resized, cropped": (
        model(
            IMAGE,
            "c = Conv(x, w)\np = Pad(c, pads)\nr = Resize(p, , scales)\nz = Slice(r, starts, ends, axes)\ny = Relu(z)",
            {
                "w": (6, 3, 3, 3),
                "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]),
                "scales": np.float32([1, 1, 2, 2]),
                **{"starts": np.int64([1, 1]), "ends": np.int64([9, 9]), "axes": np.int64([2, 3])},
            },
        ),
        *(6, (-3,), 27, 0),
    ),
    "anchors on an axis of their own": (
        model(
            "float[N,3,8,8] x => float[P,Q,R,S,T] y",
            "c = Conv(x, w)\nr = Reshape(c, shape)\nz = Transpose<perm=[0,1,3,4,2]>(r)\ny = Sigmoid(z)",
            {"w": (6, 3, 1, 1), "shape": np.int64([0, 2, 3, 8, 8])},
        ),
        *(6, (-4, -1), 3, 0),
    ),
    "half precision weights behind a cast": (
        model(TOKENS, "f = Cast<to=1>(h)\nz = MatMul(x, f)\ny = Relu(z)", {"h": np.ones((5, 4), np.float16)}),
        *(4, (-1,), 5, 1),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_channel_axis_is_where_the_weights_of_a_neuron_have_their_effect(name: str) -> None:
    proto, neurons, axes, parameters, weight_axis = LAYERS[name]
    sites, left_alone = find(proto)
    assert not left_alone
    assert list(sites) == ["y"]
    site = sites["y"]
    assert (site.neurons, site.channel_axes, site.parameters_in) == (neurons, axes, parameters)
    assert site.role == ("conv" if "Conv" in site.producers[0].op_type else "dense")
    assert site.producers[0].weight_axis == weight_axis
    assert_channels(proto, site)


def test_layer_normalization_keeps_every_channel_in_its_place() -> None:
    body = "m = MatMul(x, w)\nz = LayerNormalization(m, g, b)\ny = Relu(z)"
    site = find(model(TOKENS, body, {"w": (5, 4), "g": (4,), "b": (4,)}))[0]["y"]
    assert (site.channel_axes, site.neurons, site.parameters_in) == ((-1,), 4, 7)


def test_group_normalization_by_instance_normalization_keeps_the_channels() -> None:
    body = (
        "c = Conv(x, w)\nr = Reshape(c, groups)\ni = InstanceNormalization(r, one, zero)\ns = Shape(c)\n"
        "k = Reshape(i, s)\nm = Mul(k, g)\nz = Add(m, b)\ny = Relu(z)"
    )
    weights = {
        **{"w": (6, 3, 3, 3), "g": (6, 1, 1), "b": (6, 1, 1), "groups": np.int64([0, 2, -1])},
        **{"one": np.ones(2, np.float32), "zero": np.zeros(2, np.float32)},
    }
    site = find(model("float[2,3,8,8] x => float[P,Q,R,S] y", body, weights))[0]["y"]
    assert (site.channel_axes, site.neurons) == ((-3,), 6)


def test_dynamic_shapes_computed_in_the_graph_are_followed() -> None:
    body = (
        "m = MatMul(x, w)\ns = Shape(x)\nc = Cast<to=6>(s)\ng = Gather(c, front)\nj = Concat<axis=0>(g, four)\n"
        "t = Cast<to=7>(j)\nf = Reshape(m, rows)\nz = Reshape(f, t)\ny = Relu(z)"
    )
    weights = {
        **{"w": (5, 4), "front": np.int64([0, 1]), "four": np.int32([4]), "rows": np.int64([-1, 4])},
    }
    proto = model("float[N,T,5] x => float[P,Q,R] y", body, weights)
    site = find(proto)[0]["y"]
    assert (site.channel_axes, site.neurons) == ((-1,), 4)
    assert_channels(proto, site)


def test_split_gates_know_their_offset() -> None:
    body = "z = Gemm(x, w)\ni, f = Split<num_outputs=2>(z)\na = Sigmoid(i)\nb = Tanh(f)\ny = Mul(a, b)"
    body = body.replace("Split<num_outputs=2>", "Split<axis=1, num_outputs=2>")
    proto = model(ROWS, body, {"w": (5, 8)})
    sites, _ = find(proto)
    assert [site.producers[0].channel_offset for site in sites.values()] == [0, 4]
    for site in sites.values():
        assert_channels(proto, site)


def test_shuffled_channels_are_followed_to_their_consumer() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nr = Reshape(a, apart)\nt = Transpose<perm=[0,2,1,3,4]>(r)\n"
        "s = Reshape(t, back)\ny = Conv(s, v)"
    )
    weights = {
        **{"w": (6, 3, 1, 1), "v": (2, 6, 1, 1)},
        **{"apart": np.int64([0, 2, 3, 8, 8]), "back": np.int64([0, 6, 8, 8])},
    }
    proto = model(IMAGE, body, weights)
    site = find(proto)[0]["a"]
    weight = np.random.default_rng(0)
    weight.standard_normal((6, 3, 1, 1))
    outgoing = weight.standard_normal((2, 6, 1, 1)).astype(np.float32)
    order = np.arange(6).reshape(2, 3).T.reshape(-1)  # channel that the consumer finds in each place
    expected = np.empty(6)
    expected[order] = np.linalg.norm(outgoing[:, :, 0, 0], axis=0)
    assert site.out_norm is not None
    np.testing.assert_allclose(site.out_norm, expected, rtol=1e-6)


def test_a_computed_scalar_does_not_spread_a_single_channel() -> None:
    body = "c = Conv(x, w)\nm = ReduceMax<keepdims=0>(x)\nz = Mul(c, m)\ny = Sigmoid(z)"
    site = find(model(IMAGE, body, {"w": (1, 3, 1, 1)}))[0]["y"]
    assert (site.neurons, site.channel_axes) == (1, (-3,))
