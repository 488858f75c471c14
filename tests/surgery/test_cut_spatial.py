"""Channels of convolutions leave: padding, groups, depthwise, transposed, residual sums, Concat, Flatten, Resize."""

from __future__ import annotations

import numpy as np
import pytest
from cuts import bias, model, operate, random

from nla.manifest.document import Action


def norm(size: int, *dead: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of a BatchNormalization, with some channels far below zero."""
    numbers = np.random.default_rng([seed, size])
    return {
        "s": numbers.uniform(0.5, 1.5, size).astype(np.float32),
        "b": bias(size, *dead, seed=seed),
        "m": numbers.standard_normal(size).astype(np.float32) * 0.1,
        "v": numbers.uniform(0.5, 1.5, size).astype(np.float32),
    }


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_filters_norms_and_input_channels_leave_in_one_two_and_three_dimensions(axes, tmp_path):
    space, kernel = ",".join(["7"] * axes), [3] * axes
    proto = model(
        f"float[N,3,{space}] x => float[N,4,{space}] y",
        f"a = Conv <pads={[1] * 2 * axes}> (x, w1)\n n = BatchNormalization(a, s, b, m, v)\n h = Relu(n)\n"
        f"y = Conv <pads={[1] * 2 * axes}> (h, w2, b2)",
        {"w1": random(6, 3, *kernel), "w2": random(4, 6, *kernel), "b2": bias(4), **norm(6, 0, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (0, 3)}
    assert out.shape("w1") == (4, 3, *kernel)
    assert out.shape("w2") == (4, 4, *kernel)
    assert all(out.shape(name) == (4,) for name in "sbmv")
    assert out.saved == 2 * (3 * 3**axes + 4 + 4 * 3**axes)


def test_a_constant_channel_is_folded_through_a_convolution_without_padding(tmp_path):
    w1, b1 = random(5, 3, 3, 3), bias(5)
    w1[2], b1[2] = 0, 0.75
    proto = model(
        "float[N,3,9,9] x => float[N,4,3,3] y",
        "a = Conv(x, w1, b1)\n h = Relu(a)\n p = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (h)\n"
        "q = AveragePool <kernel_shape=[3,3]> (p)\n y = Conv(q, w2)",
        {"w1": w1, "b1": b1, "w2": random(4, 5, 3, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert len(out.nodes("Conv")[1].input) == 3


@pytest.mark.parametrize(
    "reader",
    [
        "y = Conv <pads=[1,1,1,1]> (h, w2)",
        'y = Conv <auto_pad="SAME_UPPER"> (h, w2)',
        "p = Pad(h, pads)\n y = Conv(p, w2)",
        "p = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1> (h)\n"
        "t = Pad(p, pads, one)\n y = Conv(t, w2)",
        "y = ConvTranspose <pads=[1,1,1,1]> (h, w3)",
    ],
)
def test_a_constant_channel_stays_where_zeros_around_it_would_tell_the_border(reader, tmp_path):
    w1, b1 = random(5, 3, 3, 3), bias(5)
    w1[2], b1[2] = 0, 0.75
    weights = {"w2": random(4, 5, 3, 3), "w3": random(5, 4, 3, 3), "one": np.float32(1)}
    weights["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    proto = model(
        "float[N,3,9,9] x => float[N,4,7,7] y",
        f"a = Conv(x, w1, b1)\n h = Relu(a)\n {reader}",
        {"w1": w1, "b1": b1, **{name: weight for name, weight in weights.items() if name in reader}},
    )
    out = operate(proto, tmp_path)
    assert out.done == {}
    assert "border" in out.reasons or "not known" in out.reasons


def test_a_constant_channel_of_what_is_padded_with_its_own_value_is_folded(tmp_path):
    w1, b1 = random(5, 3, 3, 3), bias(5)
    w1[2], b1[2] = 0, 0.75
    proto = model(
        "float[N,3,9,9] x => float[N,4,7,7] y",
        'a = Conv(x, w1, b1)\n h = Relu(a)\n p = Pad <mode="edge"> (h, pads)\n y = Conv(p, w2)',
        {"w1": w1, "b1": b1, "w2": random(4, 5, 3, 3), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    )
    assert operate(proto, tmp_path).done == {"h": (2,)}


@pytest.mark.parametrize("kind", ["InstanceNormalization", "BatchNormalization"])
def test_a_constant_channel_is_folded_through_a_normalisation_of_each_channel(kind, tmp_path):
    w1, b1 = random(5, 3, 1, 1), bias(5)
    w1[2], b1[2] = 0, 0.75
    parameters = norm(5)
    operands = "s, b" if kind == "InstanceNormalization" else "s, b, m, v"
    proto = model(
        "float[N,3,6,6] x => float[N,4,6,6] y",
        f"a = Conv(x, w1, b1)\n h = Relu(a)\n n = {kind}(h, {operands})\n y = Conv(n, w2)",
        {
            "w1": w1,
            "b1": b1,
            "w2": random(4, 5, 1, 1),
            **{name: parameters[name] for name in operands.split(", ")},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert out.shape("s") == (4,)


def test_a_channel_of_zeros_leaves_a_sum_over_positions_and_another_constant_stays(tmp_path):
    w1, b1 = random(5, 3, 1, 1), bias(5, 1)
    w1[2], b1[2] = 0, 0.75
    proto = model(
        "float[N,3,6,6] x => float[N,4] y",
        "a = Conv(x, w1, b1)\n h = Relu(a)\n p = LpPool <kernel_shape=[6,6]> (h)\n f = Flatten(p)\n y = Gemm(f, w2)",
        {"w1": w1, "b1": b1, "w2": random(5, 4)},
    )
    assert operate(proto, tmp_path).done == {"h": (1,)}


def test_a_residual_block_loses_its_inner_channels_and_keeps_the_stream(tmp_path):
    proto = model(
        "float[N,3,8,8] x => float[N,2] y",
        """stem = Conv <pads=[1,1,1,1]> (x, w0, b0)
        stream = Relu(stem)
        a = Conv <pads=[1,1,1,1]> (stream, w1)
        n = BatchNormalization(a, s, b, m, v)
        h = Relu(n)
        c = Conv <pads=[1,1,1,1]> (h, w2, b2)
        sum = Add(c, stream)
        out = Relu(sum)
        p = GlobalAveragePool(out)
        f = Flatten(p)
        y = Gemm(f, w3)""",
        {
            **{"w0": random(6, 3, 3, 3), "b0": bias(6, 1, 4), "w1": random(5, 6, 3, 3), **norm(5, 0, 2)},
            **{"w2": random(6, 5, 3, 3), "b2": bias(6, 1), "w3": random(6, 2)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"stream": (1,), "h": (0, 2), "out": (1,)}
    assert "unit 4 of 'out' would leave with them, and it is alive" in out.reasons
    assert (out.shape("w1"), out.shape("w2"), out.shape("w3")) == ((3, 5, 3, 3), (5, 3, 3, 3), (5, 2))


def test_a_depthwise_convolution_loses_what_its_input_and_its_output_lose_together(tmp_path):
    proto = model(
        "float[N,3,8,8] x => float[N,2,1,1] y",
        """a = Conv(x, w0, b0)
        h = Relu(a)
        d = Conv <group=6, pads=[1,1,1,1]> (h, w1, b1)
        g = Relu(d)
        c = Conv(g, w2, b2)
        y = GlobalAveragePool(c)""",
        {
            **{"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "w1": random(6, 1, 3, 3)},
            **{"b1": bias(6, 0, 4), "w2": random(2, 6, 1, 1), "b2": bias(2)},
        },
    )
    proto.graph.initializer[3].CopyFrom(_with(proto.graph.initializer[3], 1, 0.5))
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4), "g": (0, 1, 4)}
    assert out.shape("w1") == (3, 1, 3, 3)
    assert out.nodes("Conv")[1].attribute[0].i == 3 or out.nodes("Conv")[1].attribute[1].i == 3


def _with(tensor, at, value):
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor).copy()
    array[at] = value
    return numpy_helper.from_array(array, tensor.name)


def test_a_depthwise_convolution_with_two_outputs_for_each_input_loses_both(tmp_path):
    proto = model(
        "float[N,3,8,8] x => float[N,2,6,6] y",
        "a = Conv(x, w0, b0)\n h = Relu(a)\n d = Conv <group=4> (h, w1, b1)\n g = Relu(d)\n y = Conv(g, w2)",
        {
            **{"w0": random(4, 3, 1, 1), "b0": bias(4), "w1": random(8, 1, 3, 3), "b1": bias(8, 2, 3, 4)},
            **{"w2": random(2, 8, 1, 1)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"g": (2, 3)}
    assert (out.shape("w0"), out.shape("w1"), out.shape("w2")) == ((3, 3, 1, 1), (6, 1, 3, 3), (2, 6, 1, 1))


def test_groups_of_a_convolution_lose_as_many_channels_each(tmp_path):
    proto = model(
        "float[N,3,8,8] x => float[N,2,6,6] y",
        "a = Conv(x, w0, b0)\n h = Relu(a)\n d = Conv <group=2> (h, w1, b1)\n g = Relu(d)\n y = Conv(g, w2)",
        {
            **{"w0": random(8, 3, 1, 1), "b0": bias(8, 0, 1, 6), "w1": random(6, 4, 3, 3)},
            **{"b1": bias(6, 2, 3, 4), "w2": random(2, 6, 1, 1)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 6), "g": (2, 4)}
    assert (out.shape("w0"), out.shape("w1"), out.shape("w2")) == ((6, 3, 1, 1), (4, 3, 3, 3), (2, 4, 1, 1))
    assert {w.site: w.kept for w in out.report.widths} == {"h": (0,), "g": (3,)}
    assert set(out.reasons.split("; ")) == {
        "kept for Conv 'Conv_2', each of whose 2 groups must keep as many channels"
    }


def test_a_whole_group_leaves_with_its_inputs(tmp_path):
    proto = model(
        "float[N,3,8,8] x => float[N,2,6,6] y",
        "a = Conv(x, w0, b0)\n h = Relu(a)\n d = Conv <group=3> (h, w1, b1)\n g = Relu(d)\n y = Conv(g, w2)",
        {
            **{"w0": random(6, 3, 1, 1), "b0": bias(6, 2, 3), "w1": random(6, 2, 3, 3)},
            **{"b1": bias(6, 2, 3), "w2": random(2, 6, 1, 1)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2, 3), "g": (2, 3)}
    assert out.shape("w1") == (4, 2, 3, 3)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_its_axes_the_other_way(groups, tmp_path):
    proto = model(
        "float[N,3,5,5] x => float[N,2,15,15] y",
        f"a = Conv(x, w0, b0)\n h = Relu(a)\n d = ConvTranspose <group={groups}, strides=[3,3]> (h, w1, b1)\n"
        "g = Relu(d)\n y = ConvTranspose(g, w2)",
        {
            **{"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "w1": random(6, 4 // groups, 3, 3)},
            **{"b1": bias(4, 0, 3), "w2": random(4, 2, 1, 1)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4), "g": (0, 3)}
    assert out.shape("w1") == (4, 2 // groups, 3, 3)


def test_parts_of_a_concatenation_leave_one_by_one_and_are_split_again(tmp_path):
    proto = model(
        "float[N,3,6,6] x => float[N,2,6,6] y",
        """a = Conv(x, w0, b0)
        h = Relu(a)
        c = Conv(x, w1, b1)
        g = Relu(c)
        both = Concat <axis=1> (h, x, g)
        y1 = Conv(both, w2)
        left, right = Split <axis=1> (both, sizes)
        y2 = Conv(left, w3)
        y3 = Conv(right, w4)
        part = Slice(both, starts, ends, axes)
        y4 = Conv(part, w5)
        some = Gather <axis=1> (both, indices)
        y5 = Conv(some, w6)
        y = Sum(y1, y2, y3, y4, y5)""",
        {
            **{"w0": random(4, 3, 1, 1), "b0": bias(4, 1), "w1": random(5, 3, 1, 1), "b1": bias(5, 0, 3)},
            **{"w2": random(2, 12, 1, 1), "w3": random(2, 5, 1, 1), "w4": random(2, 7, 1, 1)},
            **{"w5": random(2, 9, 1, 1), "w6": random(2, 4, 1, 1)},
            **{
                "sizes": np.array([5, 7]),
                "starts": np.array([-11]),
                "ends": np.array([10]),
                "axes": np.array([1]),
            },
            "indices": np.array([0, 1, -1, 10]),
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1,), "g": (0, 3)}
    assert [out.shape(f"w{k}")[1] for k in range(2, 7)] == [9, 4, 5, 7, 2]
    assert out.weight("sizes").tolist() == [4, 5]


@pytest.mark.parametrize("target", [[-1, 6 * 25], [0, 6 * 25], [0, -1], [64, 6 * 25], [-1, 6 * 25, 1]])
def test_a_flattening_reshape_states_its_new_size(target, tmp_path):
    after = "q = Squeeze(f, axes)\n" if len(target) == 3 else "q = Identity(f)\n"
    weights = {"axes": np.array([2])} if len(target) == 3 else {}
    proto = model(
        "float[64,3,5,5] x => float[64,2] y",
        f"a = Conv(x, w0, b0)\n h = Relu(a)\n f = Reshape(h, target)\n {after} y = Gemm(q, w1)",
        {
            **{
                "w0": random(6, 3, 1, 1),
                "b0": bias(6, 1, 4),
                "w1": random(150, 2),
                "target": np.array(target),
            },
            **weights,
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert out.shape("w1") == (100, 2)


def test_a_reshape_whose_target_the_graph_computes_follows(tmp_path):
    proto = model(
        "float[N,3,5,5] x => float[N,2] y",
        """a = Conv(x, w0, b0)
        h = Relu(a)
        dims = Shape(h)
        n = Gather(dims, zero)
        nn = Unsqueeze(n, zeros)
        t = Concat <axis=0> (nn, size)
        f = Reshape(h, t)
        y = Gemm(f, w1)""",
        {
            **{"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "w1": random(150, 2), "size": np.array([150])},
            **{"zero": np.array(0), "zeros": np.array([0])},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}


def test_channels_last_are_cut_on_the_last_axis(tmp_path):
    proto = model(
        "float[N,5,5,3] x => float[N,2] y",
        """t = Transpose <perm=[0,3,1,2]> (x)
        a = Conv(t, w0, b0)
        u = Transpose <perm=[0,2,3,1]> (a)
        scaled = Mul(u, scale)
        h = Relu(scaled)
        f = Flatten(h)
        y = Gemm(f, w1)""",
        {"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "scale": random(6) ** 2 + 0.1, "w1": random(150, 2)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert (out.shape("scale"), out.shape("w1")) == ((4,), (100, 2))


def test_constants_per_channel_are_cut_in_every_shape_they_have(tmp_path):
    proto = model(
        "float[N,3,5,5] x => float[N,2] y",
        """a = Conv(x, w0)
        c = Sub(a, shift)
        d = Div(c, scale)
        e = Add(b1, d)
        i = InstanceNormalization(e, is, ib)
        k = Add(i, b2)
        h = PRelu(k, slope)
        m = Mul(h, one)
        r = ReduceMean <keepdims=0> (m, axes)
        y = Gemm(r, w1)""",
        {
            **{
                "w0": random(6, 3, 1, 1),
                "shift": bias(6).reshape(6, 1, 1),
                "b1": bias(6).reshape(1, 6, 1, 1),
            },
            **{
                "scale": random(1, 6, 1, 1) ** 2 + 0.5,
                "is": random(6),
                "ib": bias(6),
                "one": np.float32(0.5),
            },
            **{"b2": bias(6, 1, 4).reshape(6, 1, 1), "slope": np.zeros((6, 1, 1), np.float32)},
            **{"axes": np.array([2, 3]), "w1": random(6, 2)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert out.shape("shift") == out.shape("slope") == (4, 1, 1)
    assert out.shape("b1") == out.shape("scale") == (1, 4, 1, 1)
    assert out.shape("is") == out.shape("ib") == (4,)


@pytest.mark.parametrize("how", ["sizes", "scales", "shape"])
def test_an_enlargement_states_its_new_number_of_channels(how, tmp_path):
    body = {
        "sizes": 'r = Resize <mode="nearest"> (h, , , sizes)',
        "scales": 'r = Resize <mode="linear"> (h, , scales)',
        "shape": "d = Shape <start=0, end=2> (h)\n t = Concat <axis=0> (d, space)\n"
        'r = Resize <mode="nearest"> (h, , , t)',
    }[how]
    weights = {
        "sizes": {"sizes": np.array([64, 6, 10, 10])},
        "scales": {"scales": np.array([1, 1, 2, 2], np.float32)},
        "shape": {"space": np.array([10, 10])},
    }[how]
    proto = model(
        "float[64,3,5,5] x => float[64,2,10,10] y",
        f"a = Conv(x, w0, b0)\n h = Relu(a)\n {body}\n y = Conv(r, w1)",
        {"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "w1": random(2, 6, 1, 1), **weights},
    )
    assert operate(proto, tmp_path).done == {"h": (1, 4)}


def test_channels_that_a_layer_normalisation_weighs_stay(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n n = LayerNormalization(h, s, b)\n y = MatMul(n, w2)",
        {"w1": random(6, 4), "b1": bias(6, 2), "s": random(6), "b": bias(6), "w2": random(6, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {}
    assert "a normalisation over channels" in out.reasons


def test_a_gate_that_squeezes_and_excites_is_cut_where_its_channels_are_dead(tmp_path):
    proto = model(
        "float[N,3,5,5] x => float[N,2,5,5] y",
        """a = Conv(x, w0, b0)
        h = Relu(a)
        p = GlobalAveragePool(h)
        s = Conv(p, w1, b1)
        t = Relu(s)
        e = Conv(t, w2, b2)
        g = Sigmoid(e)
        m = Mul(h, g)
        y = Conv <pads=[1,1,1,1]> (m, w3)""",
        {
            **{"w0": random(6, 3, 1, 1), "b0": bias(6, 1, 4), "w1": random(3, 6, 1, 1), "b1": bias(3, 0)},
            **{"w2": random(6, 3, 1, 1), "b2": bias(6), "w3": random(2, 6, 3, 3)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done["h"] == (1, 4)
    assert 0 in out.done["t"]
    assert out.shape("w2")[0] == 4


def test_a_number_of_channels_that_enters_the_values_keeps_them(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        """a = Gemm <transB=1> (x, w1, b1)
        h = Relu(a)
        d = Shape <start=-1> (h)
        c = Cast <to=1> (d)
        q = Sqrt(c)
        z = Div(h, q)
        y = MatMul(z, w2)""",
        {"w1": random(6, 4), "b1": bias(6, 2), "w2": random(6, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {}
    assert "computes with the number of channels" in out.reasons


def test_a_unit_removed_that_the_data_never_showed_dead_is_removed_all_the_same(tmp_path):
    """A person may add a unit: the manifest's word is taken, and the outputs change."""
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": random(5, 4), "b1": bias(5, 1), "w2": random(5, 3)},
    )
    with pytest.raises(AssertionError):
        operate(proto, tmp_path, [Action("1", "remove", "h", (0,))])
