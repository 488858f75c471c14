"""What a producer reads: its mean is that of plain NumPy over the whole data, wherever it lies in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import nla
from nla.replay.session import Session
from nla.statistics.measurements import SiteMeasurements

Array = np.ndarray[Any, np.dtype[Any]]
Measured = dict[str, SiteMeasurements]
DEAD = -50.0
RNG = np.random.default_rng(5)


def random(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def bias(size: int, *dead: int) -> Array:
    """Small biases, far below zero for the neurons that are to be dead."""
    made = random(size) / 10
    made[list(dead)] = DEAD
    return made


@dataclass
class Net:
    """A graph in ONNX text, its weights, its data, and where both lie."""

    text: str
    weights: Mapping[str, Array]
    feeds: dict[str, Array]
    path: Path

    def model(self) -> onnx.ModelProto:
        model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]>\n{self.text}')
        model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in self.weights.items())
        return model

    def inspect(self, **options: Any) -> Measured:
        path = self.path / "net.onnx"
        onnx.save(self.model(), path)
        seen = nla.inspect(path, self.feeds, in_process=True, threads=2, **options)
        return {site.name: site.measurements for site in seen.sites}

    def tensor(self, name: str) -> Array:
        """The tensor of that name, computed over the whole data at once."""
        model = self.model()
        model.graph.output.add(name=name)
        return (
            Session(model.SerializeToString(), optimise=False).run([name], self.feeds)[0].astype(np.float64)
        )


MLP = """
mlp (float[n,6] x) => (float[n,2] y) {
    h0 = Gemm (x, w0, b0)  r0 = Relu (h0)
    h1 = Gemm (r0, w1, b1)  r1 = Relu (h1)
    y = MatMul (r1, w2)
}"""


@pytest.fixture
def mlp(tmp_path: Path) -> Net:
    weights = {"w0": random(6, 5), "b0": bias(5, 1), "w1": random(5, 4), "b1": bias(4, 2), "w2": random(4, 2)}
    return Net(MLP, weights, {"x": random(90, 6) + 3}, tmp_path)


def close(got: Array | None, want: Array) -> None:
    assert got is not None
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def test_a_graph_input_and_the_neurons_before_have_their_means(mlp: Net) -> None:
    seen = mlp.inspect()
    close(seen["r0"].input_mean, mlp.feeds["x"].mean(axis=0, dtype=np.float64))
    close(seen["r1"].input_mean, mlp.tensor("r0").mean(axis=0))


def test_inputs_that_need_a_tap_are_observed_where_a_neuron_may_be_dead(mlp: Net) -> None:
    mlp.weights = {**mlp.weights, "b0": bias(5) + 60}
    seen = mlp.inspect()
    assert seen["r0"].input_mean is None
    assert seen["r1"].input_mean is not None  # that of the site before costs nothing
    close(mlp.inspect(pre_activations=True)["r0"].input_mean, mlp.feeds["x"].mean(axis=0, dtype=np.float64))


def test_behind_a_layer_norm_the_mean_is_that_of_its_output(tmp_path: Path) -> None:
    text = """
    mlp (float[n,t,6] x) => (float[n,t,2] y) {
        l = LayerNormalization <axis: int = -1> (x, g, s)
        h0 = MatMul (l, w0)  h1 = Add (h0, b0)  r0 = Relu (h1)
        y = MatMul (r0, w1)
    }"""
    weights = {"g": random(6), "s": random(6), "w0": random(6, 5), "b0": bias(5, 0), "w1": random(5, 2)}
    net = Net(text, weights, {"x": random(40, 7, 6)}, tmp_path)
    close(net.inspect()["r0"].input_mean, net.tensor("l").mean(axis=(0, 1)))


CNN = """
cnn (float[n,3,9,9] x) => (float[n,2] y) {
    c0 = Conv <pads: ints = [1,1,1,1]> (x, k0, b0)  r0 = Relu (c0)
    c1 = Conv <group: int = 2> (r0, k1, b1)  r1 = Relu (c1)
    p = MaxPool <kernel_shape: ints = [2,2], strides: ints = [2,2]> (r1)
    c2 = Conv (p, k2, b2)  r2 = Relu (c2)
    f = Flatten (r2)
    h = Gemm (f, w, b3)  r3 = Relu (h)
    y = MatMul (r3, w4)
}"""


@pytest.mark.parametrize("samples", [20, 130])  # from 64 samples on the blocked layout is looked for
def test_a_convolution_has_the_mean_of_each_input_channel(tmp_path: Path, samples: int) -> None:
    weights = {
        **{"k0": random(16, 3, 3, 3), "b0": bias(16, 3), "k1": random(16, 8, 3, 3), "b1": bias(16, 4)},
        **{"k2": random(32, 16, 2, 2), "b2": bias(32, 5), "w": random(128, 8), "b3": bias(8, 1)},
        "w4": random(8, 2),
    }
    for name in ("k1", "k2", "w"):
        weights[name] /= 10
    net = Net(CNN, weights, {"x": random(samples, 3, 9, 9) + 1}, tmp_path)
    seen = net.inspect()
    close(seen["r0"].input_mean, net.feeds["x"].mean(axis=(0, 2, 3), dtype=np.float64))
    for site, tensor in {"r1": "r0", "r2": "p", "r3": "f"}.items():
        axes = tuple(k for k in range(net.tensor(tensor).ndim) if k != 1)
        got = seen[site].input_mean
        assert got is not None
        np.testing.assert_allclose(got, net.tensor(tensor).mean(axis=axes), rtol=1e-5, atol=1e-6)


def test_padding_is_left_out_of_the_inputs_too(tmp_path: Path) -> None:
    text = """
    mlp (float[n,t,6] x, float[n,t] m) => (float[n,t,2] y) {
        h0 = MatMul (x, w0)  h1 = Add (h0, b0)  r0 = Relu (h1)
        y = MatMul (r0, w1)
    }"""
    weights = {"w0": random(6, 5), "b0": bias(5, 0), "w1": random(5, 2)}
    valid = np.arange(7)[None, :] < RNG.integers(1, 8, 40)[:, None]
    x = np.where(valid[:, :, None], random(40, 7, 6), 1e4).astype(np.float32)
    net = Net(text, weights, {"x": x}, tmp_path)
    net.text = net.text.replace(", float[n,t] m", "")
    seen = net.inspect(mask=valid)["r0"]
    assert seen.positions == valid.sum()
    close(seen.input_mean, x[valid].mean(axis=0, dtype=np.float64))


def test_two_sites_that_read_one_tensor_both_have_its_mean(tmp_path: Path) -> None:
    text = """
    mlp (float[n,6] x) => (float[n,2] y) {
        t = Tanh (x)
        h0 = Gemm (t, w0, b0)  r0 = Relu (h0)
        h1 = Gemm (t, w1, b1)  r1 = Relu (h1)
        s = Concat <axis: int = 1> (r0, r1)
        y = MatMul (s, w2)
    }"""
    weights = {"w0": random(6, 5), "b0": bias(5, 1), "w1": random(6, 4), "b1": bias(4, 2), "w2": random(9, 2)}
    net = Net(text, weights, {"x": random(50, 6)}, tmp_path)
    seen = net.inspect()
    for site in ("r0", "r1"):
        close(seen[site].input_mean, net.tensor("t").mean(axis=0))


def test_a_transposed_producer_reads_its_channels_on_another_axis(tmp_path: Path) -> None:
    text = """
    mlp (float[n,6,4] x) => (float[n,2,4] y) {
        h0 = MatMul (w0, x)  h1 = Add (h0, b0)  r0 = Relu (h1)
        y = MatMul (w1, r0)
    }"""
    weights = {"w0": random(5, 6), "b0": bias(5, 3)[:, None], "w1": random(2, 5)}
    net = Net(text, weights, {"x": random(50, 6, 4) + 2}, tmp_path)
    close(net.inspect()["r0"].input_mean, net.feeds["x"].mean(axis=(0, 2), dtype=np.float64))


def test_samples_with_nan_are_left_out_of_the_inputs(mlp: Net) -> None:
    mlp.feeds["x"][4, 2] = np.nan
    close(mlp.inspect()["r0"].input_mean, np.delete(mlp.feeds["x"], 4, 0).mean(axis=0, dtype=np.float64))


def test_the_product_of_several_producers_has_no_input_mean(tmp_path: Path) -> None:
    text = """
    mlp (float[n,6] x) => (float[n,2] y) {
        g = MatMul (x, w0)  q = Sigmoid (g)  s = Mul (g, q)
        u = MatMul (x, w1)  p = Mul (s, u)
        y = MatMul (p, w2)
    }"""
    net = Net(
        text, {"w0": random(6, 5), "w1": random(6, 5), "w2": random(5, 2)}, {"x": random(50, 6)}, tmp_path
    )
    seen = net.inspect(pre_activations=True)
    assert [m.input_mean for m in seen.values()] == [None]


# Rows of z


def test_rows_of_z_are_of_all_samples_where_a_neuron_may_be_dead(mlp: Net) -> None:
    seen = mlp.inspect()["r0"]
    z = mlp.tensor("h0")
    assert seen.pre_rows is not None
    assert seen.pre_rows.shape == (90, 5)
    np.testing.assert_allclose(np.sort(seen.pre_rows, axis=0), np.sort(z, axis=0), rtol=1e-5, atol=1e-5)
    share = seen.pre_histogram.values if seen.pre_histogram else 0
    assert 5 <= share < 90 * 5  # the histogram stays comparable with that of sites seen on a share


def test_elsewhere_rows_of_z_are_of_the_share(mlp: Net) -> None:
    mlp.weights = {**mlp.weights, "b0": bias(5) + 60}
    seen = mlp.inspect()["r0"]
    assert seen.pre_rows is not None
    assert seen.pre_histogram is not None
    assert seen.pre_rows.size == seen.pre_histogram.values < 90 * 5


@pytest.mark.parametrize("tokens", [1, 40])
def test_the_quantiles_of_a_dead_neuron_are_those_of_all_its_z(tmp_path: Path, tokens: int) -> None:
    text = """
    mlp (float[n,t,6] x) => (float[n,t,2] y) {
        h0 = MatMul (x, w0)  h1 = Add (h0, b0)  r0 = Relu (h1)
        y = MatMul (r0, w1)
    }"""
    weights = {"w0": random(6, 5), "b0": bias(5, 2), "w1": random(5, 2)}
    net = Net(text, weights, {"x": random(4000, tokens, 6)}, tmp_path)
    seen = net.inspect()["r0"]
    assert seen.pre_rows is not None
    assert seen.pre_rows.shape == (2048, 5)
    z = net.tensor("h1")[..., 2].ravel()
    below = (z < np.quantile(seen.pre_rows[:, 2], 0.99)).mean()
    assert abs(below - 0.99) < 0.01


# Shards


def merged(net: Net, shards: int, **options: Any) -> tuple[Measured, Measured]:
    """Measurements of the whole, and of as many shards, merged."""
    whole = net.inspect(**options)
    paths = [net.path / f"{k}.h5" for k in range(1, shards + 1)]
    for k, path in enumerate(paths, 1):
        net.inspect(shard=(k, shards), output=path, **options)
    joined = nla.merge([*paths[1:], paths[0]], in_process=True)
    return whole, {site.name: site.measurements for site in joined.sites}


def test_shards_merge_to_the_rows_and_means_of_one_pass(mlp: Net) -> None:
    whole, joined = merged(mlp, 3)
    for site, want in whole.items():
        got = joined[site]
        assert got.pre_rows is not None
        assert want.pre_rows is not None
        assert want.input_mean is not None
        np.testing.assert_allclose(
            np.sort(got.pre_rows, axis=0), np.sort(want.pre_rows, axis=0), rtol=1e-5, atol=1e-5
        )
        close(got.input_mean, want.input_mean)


def test_a_shard_in_which_a_neuron_seems_dead_merges_to_what_the_whole_says(tmp_path: Path) -> None:
    text = """
    mlp (float[n,1] x) => (float[n,2] y) {
        h0 = Gemm (x, w0, b0)  r0 = Relu (h0)
        y = MatMul (r0, w1)
    }"""
    weights = {"w0": np.array([[1, -1]], np.float32), "b0": np.zeros(2, np.float32), "w1": random(2, 2)}
    place = np.arange(900)
    sign = np.where((place % 10 < 5) | (place < 450), 1, -1)  # shards of ten: every other neuron 1 seems dead
    x = sign[:, None] * RNG.uniform(1, 2, (900, 1))
    net = Net(text, weights, {"x": x.astype(np.float32)}, tmp_path)
    whole, joined = merged(net, 10)
    full, share = (nla.load(net.path / f"{k}.h5", in_process=True)["r0"].measurements for k in (1, 10))
    assert full.pre_rows is not None
    assert share.pre_rows is not None
    assert (len(full.pre_rows), len(share.pre_rows) < 90) == (90, True)
    assert full.input_mean is not None
    assert share.input_mean is None
    got, want = joined["r0"], whole["r0"]
    assert got.pre_rows is not None
    assert want.pre_rows is not None
    np.testing.assert_array_equal(np.sort(got.pre_rows, axis=0), np.sort(want.pre_rows, axis=0))
    assert got.input_mean is None is want.input_mean


def test_the_first_layer_of_the_dying_network_reads_the_mean_image(shared: Path) -> None:
    data = np.load(shared / "data" / "mnist_train_first1000.npz")["x"]
    model = shared / "models" / "dying-relu" / "relu" / "epoch12.onnx"
    seen = nla.inspect(model, shared / "data" / "mnist_train_first1000.npz", in_process=True)
    close(seen.sites[0].measurements.input_mean, data.reshape(1000, 784).mean(axis=0, dtype=np.float64))
    for before, site in zip(seen.sites, seen.sites[1:], strict=False):
        close(site.measurements.input_mean, before.measurements.mean)
