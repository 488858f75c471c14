"""Actions on networks small enough to be worked out by hand: which numbers change, which must not, what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from site_graphs import model
from weight_actions import FAR, IMAGE, NETS, ROWS, Net, act, bias, weight

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import UsageError
from nla.manifest.document import Action, Declined, Manifest
from nla.surgery.carry_out import carry_out
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS
from nla.surgery.weights.reset import stream

W = np.array([[1, -4, 0.5], [-2, 3, -1], [0.25, -1, 2], [-3, -2, 1]], np.float32)  # [inputs, units]
THREE = "float[N,4] x => float[P,Q] y"


def three(**changes):
    """Three units of four inputs, and a layer of two that reads them."""
    weights = {"w": W, "b": np.array([0.5, -1, 2], np.float32), "v": np.ones((3, 2), np.float32), **changes}
    return Net(model(THREE, "z = Gemm(x, w, b)\na = Relu(z)\ny = Gemm(a, v)", weights), neurons=3)


def silenced(unit):
    """The weights without those of a unit."""
    made = W.copy()
    made[:, unit] = 0
    return made


def expected(w, changes):
    made = w.copy()
    for place, value in changes.items():
        made[place] = value
    return made


# --- strip


def test_strip_takes_the_most_negative_share_of_the_fan_in_and_no_positive_weight(tmp_path):
    done = act(tmp_path, "strip", three(), [0, 2], fraction=0.5)
    np.testing.assert_array_equal(done.weight("w"), expected(W, {(3, 0): 0, (1, 0): 0, (1, 2): 0}))
    np.testing.assert_array_equal(done.weight("b"), [0.5, -1, 2])


def test_strip_takes_one_weight_at_least(tmp_path):
    done = act(tmp_path, "strip", three(), [1], fraction=0.01)
    np.testing.assert_array_equal(done.weight("w"), expected(W, {(0, 1): 0}))


def test_strip_behind_a_negative_scale_takes_what_pulls_z_down(tmp_path):
    net = Net(
        model(
            "float[N,4,1] x => float[P,Q,R] y",
            "p = Conv<kernel_shape=[1]>(x, w)\nz = BatchNormalization(p, g, h, m, s)\na = Relu(z)\n"
            "y = Conv<kernel_shape=[1]>(a, v)",
            {
                "w": W.T[:, :, None].copy(),
                **{
                    k: np.array(v, np.float32)
                    for k, v in {"g": [1, -1, 1], "h": [0] * 3, "m": [0] * 3, "s": [1] * 3}.items()
                },
                "v": (2, 3, 1),
            },
        ),
        axis=1,
        neurons=3,
    )
    done = act(tmp_path, "strip", net, [1], fraction=0.25)
    np.testing.assert_array_equal(done.weight("w")[:, :, 0].T, expected(W, {(1, 1): 0}))


def test_strip_by_contribution_takes_what_the_mean_input_makes_most_negative(tmp_path):
    mean = [1.0, -1.0, 2.0, 0.1]  # contributions to unit 1: -4, -3, -2, -0.2; to unit 2: 0.5, 1, 4, 0.1
    done = act(tmp_path, "strip-contribution", three(), [1, 2], fraction=0.5, input_mean=mean)
    np.testing.assert_array_equal(done.weight("w"), expected(W, {(0, 1): 0, (1, 1): 0}))


def test_strip_by_contribution_counts_every_tap_of_a_channel(tmp_path):
    w = np.array([[[1, -1], [2, -3]]], np.float32)  # one unit, two channels, two taps
    proto = model(
        "float[N,2,4] x => float[P,Q,R] y",
        "z = Conv<kernel_shape=[2]>(x, w, b)\na = Relu(z)\ny = Conv<kernel_shape=[1]>(a, v)",
        {"w": w, "b": np.zeros(1, np.float32), "v": (2, 1, 1)},
    )
    done = act(
        tmp_path, "strip-contribution", Net(proto, neurons=1), [0], fraction=0.5, input_mean=[5.0, -1.0]
    )
    np.testing.assert_array_equal(done.weight("w"), [[[1, 0], [0, -3]]])


def test_strip_by_contribution_without_means_is_refused(tmp_path):
    done = act(tmp_path, "strip-contribution", three(), [0, 1], fraction=0.5, input_mean=None)
    assert [entry.units for entry in done.refused] == [(0, 1)]
    assert "means" in done.refused[0].reason


def test_means_of_another_number_of_inputs_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="input_mean has 3 numbers, expected one for each of the 4"):
        act(tmp_path, "strip-contribution", three(), [0], fraction=0.5, input_mean=[1.0, 2.0, 3.0])


# --- mask


def test_mask_zeroes_the_row_the_bias_and_the_column(tmp_path):
    done = act(tmp_path, "mask", three(b=np.array([0.5, FAR, 2], np.float32)), [1])
    w, b, v = (done.weight(name) for name in "wbv")
    np.testing.assert_array_equal(w, silenced(1))
    np.testing.assert_array_equal(b, [0.5, 0, 2])
    np.testing.assert_array_equal(v, expected(np.ones((3, 2), np.float32), {1: 0}))


def test_a_constant_unit_gives_its_value_to_the_bias_that_is_made_for_it(tmp_path):
    done = act(tmp_path, "mask", three(w=silenced(2)), [2], values=[2.0])
    before, after = done.values("y")[0]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert [len(node.input) for node in done.after.graph.node if "y" in node.output] == [3]


def test_a_constant_unit_before_zero_padding_is_refused(tmp_path):
    net = Net(
        model(
            IMAGE,
            "z = Conv<kernel_shape=[1,1]>(x, w, b)\na = Relu(z)\no = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(a, u)\n"
            "f = Flatten(o)\ny = Gemm(f, v)",
            {"w": np.zeros((4, 3, 1, 1), np.float32), "b": bias(), "u": (2, 4, 3, 3), "v": (72, 2)},
        ),
        axis=1,
    )
    done = act(tmp_path, "mask", net, [0, 3], values=[0.0, 0.3])
    assert [entry.units for entry in done.refused] == [(3,)]
    assert "pads with zeros" in done.refused[0].reason


GATED = Net(
    model(
        ROWS,
        "g = MatMul(x, wg)\nz = Add(g, bg)\nu = MatMul(x, wu)\ns = Sigmoid(z)\nt = Mul(z, s)\na = Mul(t, u)\n"
        "y = MatMul(a, v)",
        {"wg": (5, 4), "bg": bias(1, 3), "wu": (5, 4), "v": (4, 2)},
    )
)


def test_gate_and_up_of_a_gated_product_are_masked_together(tmp_path):
    done = act(tmp_path, "mask", GATED)
    assert done.refused == []
    for name in ("wg", "wu"):
        assert (done.weight(name)[:, [1, 3]] == 0).all()
        np.testing.assert_array_equal(done.weight(name)[:, [0, 2]], weight(GATED.proto, name)[:, [0, 2]])
    assert (done.weight("v")[[1, 3]] == 0).all()
    before, after = done.values("y")[0]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_gate_and_up_of_a_gated_product_are_drawn_anew_and_the_gate_alone_is_stripped(tmp_path):
    done = act(tmp_path, "reset", GATED, scheme="lecun", seed=1, means=[0.0, 0.0])
    assert done.refused == []
    assert (done.weight("wg")[:, 1] != weight(GATED.proto, "wg")[:, 1]).all()
    assert (done.weight("wu")[:, 1] != done.weight("wg")[:, 1]).all()
    assert (done.weight("bg")[[1, 3]] == 0).all()
    stripped = act(tmp_path, "strip", GATED, fraction=0.4)
    np.testing.assert_array_equal(stripped.weight("wu"), weight(GATED.proto, "wu"))
    assert (stripped.weight("wg")[:, 1] == 0).any()


def test_a_gated_product_gets_another_gate(tmp_path):
    done = act(tmp_path, "swap", GATED, range(4), to="Elu", alpha=0.5)
    assert done.refused == []
    (z, _), (u, _), (_, a) = done.values("z", "u", "a")
    np.testing.assert_allclose(a, np.where(z > 0, z, 0.5 * np.expm1(z)) * u, atol=1e-5)


def test_a_unit_that_meets_others_in_a_sum_stays(tmp_path):
    net = Net(
        model(
            ROWS,
            "z = Gemm(x, w, b)\na = Relu(z)\np = Gemm(x, o)\nk = Tanh(p)\nj = Add(a, k)\ny = Gemm(j, v)",
            {"w": (5, 4), "b": bias(1, 3), "o": (5, 4), "v": (4, 2)},
        )
    )
    done = act(tmp_path, "mask", net)
    assert [entry.units for entry in done.refused] == [(1, 3)]
    assert "added to others'" in done.refused[0].reason
    assert done.after.graph == done.before.graph


def test_a_unit_that_goes_on_into_another_site_stays(tmp_path):
    net = Net(
        model(
            "float[N,4] x => float[P,Q] y",
            "z = Gemm(x, w, b)\na = Relu(z)\np = Gemm(a, o)\nj = Add(a, p)\nk = Relu(j)\ny = Gemm(k, v)",
            {"w": (4, 4), "b": bias(1, 3), "o": (4, 4), "v": (4, 2)},
        )
    )
    done = act(tmp_path, "reset", net, scheme="he", seed=0, means=[0.0, 0.0])
    assert [entry.units for entry in done.refused] == [(1, 3)]
    assert "goes into the site 'k'" in done.refused[0].reason


def test_a_unit_that_an_output_shows_stays(tmp_path):
    net = Net(model(ROWS, "z = Gemm(x, w, b)\ny = Relu(z)", {"w": (5, 4), "b": bias(1, 3)}), site="y")
    done = act(tmp_path, "mask", net)
    assert "the graph output 'y'" in done.refused[0].reason


def test_what_else_reads_a_shared_weight_is_not_touched(tmp_path):
    net = NETS["weights and bias that another layer reads"]
    done = act(tmp_path, "reset", net, scheme="he", seed=0, means=[0.0, 0.0])
    made = {output: node for node in done.after.graph.node for output in node.output}
    assert made["z"].input[1] != made["k"].input[1]
    np.testing.assert_array_equal(
        weight(done.after, made["k"].input[1])[[0, 2]], weight(net.proto, "w")[[0, 2]]
    )
    np.testing.assert_array_equal(weight(done.after, made["k"].input[2]), weight(net.proto, "b"))


# --- quantised weights

QDQ = Net(
    model(
        ROWS,
        "w = DequantizeLinear<axis=1>(q, qs, qz)\nz = Gemm(x, w, b)\na = Relu(z)\nv = DequantizeLinear(r, rs, rz)\n"
        "y = Gemm(a, v)",
        {
            "q": np.random.default_rng(0).integers(0, 255, (5, 4)).astype(np.uint8),
            "qs": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
            "qz": np.array([100, 120, 140, 160], np.uint8),
            "b": bias(1, 3),
            "r": np.random.default_rng(1).integers(-127, 127, (4, 2)).astype(np.int8),
            "rs": np.float32(0.05),
            "rz": np.int8(3),
        },
    )
)


def test_zero_of_a_quantised_weight_is_its_zero_point(tmp_path):
    done = act(tmp_path, "mask", QDQ)
    assert done.refused == []
    assert (done.weight("q")[:, [1, 3]] == [120, 160]).all()
    assert (done.weight("r")[[1, 3]] == 3).all()
    before, after = done.values("y")[0]
    np.testing.assert_array_equal(after, before)


def test_quantised_weights_are_stripped_by_what_they_stand_for_and_never_drawn(tmp_path):
    q = weight(QDQ.proto, "q")[:, 1].astype(int)
    lowest = int(q.argmin())
    assert q[lowest] < 120
    done = act(tmp_path, "strip", QDQ, [1], fraction=0.2)
    assert done.weight("q")[lowest, 1] == 120
    drawn = act(tmp_path, "reset", QDQ, scheme="he", seed=0, means=[0.0, 0.0])
    assert "quantised" in drawn.refused[0].reason


def test_the_type_of_every_weight_stays(tmp_path):
    for kind, parameters in {
        "reset": {"scheme": "he", "seed": 0, "means": [0.5, 0.5]},
        "shift": {"delta": [1.0, 1.0], "zero_outgoing": False, "target_rate": 0.1},
    }.items():
        done = act(tmp_path, kind, NETS["float16"], **parameters)
        assert {tensor.data_type for tensor in done.after.graph.initializer} == {onnx.TensorProto.FLOAT16}


# --- reset


def test_a_unit_is_drawn_the_same_whoever_is_drawn_with_it(tmp_path):
    alone = act(tmp_path, "reset", three(), [1], scheme="he", seed=7, means=[0.0]).weight("w")
    together = act(tmp_path, "reset", three(), [2, 1], scheme="he", seed=7, means=[0.0, 0.0]).weight("w")
    other = act(tmp_path, "reset", three(), [1], scheme="he", seed=8, means=[0.0]).weight("w")
    np.testing.assert_array_equal(alone[:, 1], together[:, 1])
    assert not np.isin(together[:, 1], together[:, 2]).any()
    assert (alone[:, 1] != other[:, 1]).all()


def test_streams_of_units_sites_and_seeds_differ():
    first = {stream(s, site, unit).random() for s in (0, 1) for site in ("a", "b") for unit in (0, 1)}
    assert len(first) == 8


@pytest.mark.parametrize(("scheme", "variance"), [("he", 2 / 400), ("glorot", 2 / 900), ("lecun", 1 / 400)])
def test_weights_are_drawn_with_the_variance_of_the_scheme(tmp_path, scheme, variance):
    proto = model(
        "float[N,400] x => float[P,Q] y",
        "z = Gemm(x, w)\na = Relu(z)\ny = Gemm(a, v)",
        {"w": (400, 500), "v": (500, 2)},
    )
    done = act(
        tmp_path, "reset", Net(proto, neurons=500), range(500), scheme=scheme, seed=0, means=[0.0] * 500
    )
    drawn = done.weight("w")
    assert drawn.var() == pytest.approx(variance, rel=0.02)
    assert np.abs(drawn).max() <= np.sqrt(3 * variance)
    assert np.abs(drawn).max() == pytest.approx(np.sqrt(3 * variance), rel=1e-3)


def test_what_a_unit_gave_in_the_mean_goes_into_the_next_bias(tmp_path):
    done = act(tmp_path, "reset", three(), [0], scheme="he", seed=0, means=[0.25])
    made = next(node for node in done.after.graph.node if "y" in node.output)
    np.testing.assert_array_equal(weight(done.after, made.input[2]), [0.25, 0.25])


def test_a_reset_unit_begins_with_the_moments_of_a_new_batch_normalization(tmp_path):
    net = NETS["Conv, BatchNormalization with negative gamma, max pooling"]
    done = act(tmp_path, "reset", net, scheme="he", seed=0, means=[0.0, 0.0])
    for name, number in {"g": 1, "h": 0, "m": 0, "s": 1}.items():
        assert (done.weight(name)[[1, 3]] == number).all()
        np.testing.assert_array_equal(done.weight(name)[[0, 2]], weight(net.proto, name)[[0, 2]])


# --- shift


def test_a_shift_goes_to_the_beta_of_a_batch_normalization_on_the_way(tmp_path):
    net = NETS["Conv, BatchNormalization with negative gamma, max pooling"]
    done = act(tmp_path, "shift", net, [1], delta=[0.5], zero_outgoing=False, target_rate=0.1)
    assert done.weight("h")[1] == pytest.approx(FAR + 0.5)
    assert len(done.after.graph.initializer) == len(net.proto.graph.initializer)


@pytest.mark.parametrize(
    "layer", ["z = Gemm(x, w)", "z = MatMul(x, w)", 'z = Einsum<equation="bi,io->bo">(x, w)']
)
def test_a_bias_is_made_where_there_is_none(tmp_path, layer):
    net = Net(model(ROWS, f"{layer}\na = Relu(z)\ny = Gemm(a, v)", {"w": (5, 4), "v": (4, 2)}))
    done = act(tmp_path, "shift", net, [2], delta=[0.5], zero_outgoing=False, target_rate=0.1)
    before, after = done.units("z")
    np.testing.assert_allclose(after - before, np.array([0, 0, 0.5, 0])[:, None] * np.ones(16), atol=1e-6)


def test_a_layer_that_another_activation_reads_too_gets_its_bias_before_this_one(tmp_path):
    net = Net(
        model(
            ROWS,
            "z = MatMul(x, w)\na = Relu(z)\ns = Tanh(z)\nj = Concat<axis=1>(a, s)\ny = Gemm(j, v)",
            {"w": (5, 4), "v": (8, 2)},
        )
    )
    done = act(tmp_path, "shift", net, [2], delta=[0.5], zero_outgoing=False, target_rate=0.1)
    assert done.refused == []
    (z, _), (_, a), (before, after) = done.values("z", "a", "s")
    np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(a, np.maximum(z + np.array([0, 0, 0.5, 0]), 0), atol=1e-6)
    masked = act(tmp_path, "mask", net, [2])
    assert "read elsewhere too" in masked.refused[0].reason


# --- flip and swap


def test_a_sign_does_not_pass_a_max_pooling(tmp_path):
    net = Net(
        model(
            IMAGE,
            "p = Conv<kernel_shape=[3,3]>(x, w, b)\nz = MaxPool<kernel_shape=[2,2]>(p)\na = Relu(z)\nf = Flatten(a)\n"
            "y = Gemm(f, v)",
            {"w": (4, 3, 3, 3), "b": bias(), "v": (36, 2)},
        ),
        axis=1,
    )
    done = act(tmp_path, "flip", net, range(4))
    assert done.refused[0].units == (0, 1, 2, 3)
    assert "MaxPool" in done.refused[0].reason
    shifted = act(tmp_path, "shift", net, [0], delta=[1.0], zero_outgoing=False, target_rate=0.1)
    before, after = shifted.units("z")
    np.testing.assert_allclose(after[0], before[0] + 1, atol=1e-5)


def test_a_flip_that_left_units_behind_is_carried_out_again_and_half_of_one_is_not(tmp_path):
    path, action = tmp_path / "source.onnx", Action("a1", "flip", "a", (0, 2))
    onnx.save(three().proto, path)
    left = Declined("flip", "a", (1,), "it is read elsewhere too")
    report = carry_out(ModelEdit(open_onnx(path)), Manifest({}, actions=(action,), declined=(left,)))
    assert report.actions[0].done == (0, 2)
    with pytest.raises(UsageError, match="action a1 flips 2 of the 3 units of a: a flip is of a whole layer"):
        carry_out(ModelEdit(open_onnx(path)), Manifest({}, actions=(action,)))


@pytest.mark.parametrize(
    ("opset", "operators"),
    [(20, {"Gelu"}), (17, {"Mul", "Div", "Erf", "Add"}), (8, {"Mul", "Add", "Tanh"})],
)
def test_gelu_is_written_in_operators_of_the_models_opset(tmp_path, opset, operators):
    proto = model(
        ROWS, "z = MatMul(x, w)\na = Relu(z)\ny = MatMul(a, v)", {"w": (5, 4), "v": (4, 2)}, opset=opset
    )
    done = act(tmp_path, "swap", Net(proto), range(4), to="Gelu")
    assert {node.op_type for node in done.after.graph.node} == operators | {"MatMul"}
    assert {entry.version for entry in done.after.opset_import if entry.domain == ""} == {opset}


def test_nothing_of_the_old_activation_is_left_behind(tmp_path):
    gelu = "d = Div(z, r)\ne = Erf(d)\np = Add(e, one)\nm = Mul(z, p)\na = Mul(m, half)"
    proto = model(
        ROWS,
        f"z = Gemm(x, w)\n{gelu}\ny = Gemm(a, v)",
        {"w": (5, 4), "v": (4, 2), "r": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
    )
    done = act(tmp_path, "swap", Net(proto), range(4), to="LeakyRelu", alpha=0.25)
    assert [node.op_type for node in done.after.graph.node] == ["Gemm", "LeakyRelu", "Gemm"]
    assert {tensor.name for tensor in done.after.graph.initializer} == {"w", "v"}


def test_an_operator_that_adds_the_bias_itself_leaves_it_to_an_add(tmp_path):
    proto = model(
        ROWS,
        "z = MatMul(x, w)\na = com.microsoft.BiasGelu(z, b)\ny = Gemm(a, v)",
        {"w": (5, 4), "b": bias(), "v": (4, 2)},
    )
    done = act(tmp_path, "swap", Net(proto), range(4), to="Silu")
    assert done.refused == []
    z = done.units("z")[0] + bias()[:, None]
    np.testing.assert_allclose(done.units("a")[1], z / (1 + np.exp(-z)), atol=1e-6)


def test_an_activation_is_exchanged_for_all_units_or_none(tmp_path):
    done = act(tmp_path, "swap", three(), [0, 1], to="Silu")
    assert done.refused[0].units == (0, 1)


# --- files


def test_large_weights_are_not_read_until_the_file_is_written(tmp_path, monkeypatch):
    path = tmp_path / "source.onnx"
    onnx.save(three(b=np.array([FAR] * 3, np.float32)).proto, path)
    checkpoint = open_onnx(path)
    structure, edit = Structure.of(checkpoint), ModelEdit(checkpoint)
    read: list[str] = []
    original = ModelEdit.weight
    monkeypatch.setattr(ModelEdit, "weight", lambda self, name: read.append(name) or original(self, name))
    for kind, parameters in {
        "mask": {},
        "strip": {"fraction": 0.5},
        "reset": {"scheme": "he", "seed": 0, "means": [0.0]},
        "flip": {},
    }.items():
        action = Action("a1", kind, "a", (1,), parameters)
        assert ACTIONS[kind](edit, structure, structure.site("a"), action) == []
    assert "w" not in read
    assert "v" not in read


def test_the_same_action_writes_the_same_bytes(tmp_path):
    written = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        act(tmp_path / folder, "reset", three(), [1, 2], scheme="glorot", seed=3, means=[0.5, 0.1])
        written.append((tmp_path / folder / "edited.onnx").read_bytes())
    assert written[0] == written[1]


def test_numbers_that_do_not_fit_the_units_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="delta has 1 numbers for 2 units"):
        act(tmp_path, "shift", three(), [0, 1], delta=[1.0], zero_outgoing=False, target_rate=0.1)
