"""A digest of weights tells what the comparison of the weights themselves tells, and is kept by recordings."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from nla.graph import digests
from nla.graph.digests import weight_digests
from nla.graph.find import find_sites
from nla.graph.unchanged import unchanged_neurons

DENSE = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[n,3] x) => (float[n,2] y)
<float[4,3] w0, float[4] b0, float[4,2] w1, float[2] b1>
{
  z = Gemm <transB = 1> (x, w0, b0)
  a = Relu (z)
  u = Gemm (a, w1, b1)
  y = Tanh (u)
}
"""
CONV = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[n,2,8,8] x) => (float[n,3,6,6] y)
<float[3,2,3,3] w0>
{
  z = Conv (x, w0)
  y = Relu (z)
}
"""
SHAPES = {
    DENSE: {"w0": (4, 3), "b0": (4,), "w1": (4, 2), "b1": (2,)},
    CONV: {"w0": (3, 2, 3, 3)},
}
TYPES = (np.float32, np.float64, np.float16)


def network(text: str, kind: type = np.float32, seed: int = 0, **changes: tuple[int, ...]) -> ir.Model:
    """The network with one bit of a weight flipped at each given place."""
    name = {np.float64: "double", np.float16: "float16"}.get(kind, "float")
    proto = onnx.parser.parse_model(text.replace("float[", f"{name}["))
    rng = np.random.default_rng(seed)
    del proto.graph.initializer[:]
    for weight, shape in SHAPES[text].items():
        value = rng.normal(size=shape).astype(kind)
        if weight in changes:
            value.view(f"u{value.itemsize}")[changes[weight]] ^= 1
        proto.graph.initializer.append(numpy_helper.from_array(value, weight))
    return ir.from_proto(proto)


def of(model: ir.Model) -> dict[str, np.ndarray]:
    sites, _ = find_sites(model)
    return weight_digests(model, sites)


def test_they_depend_on_the_weights_alone_and_differ_between_neurons():
    one, other = of(network(DENSE)), of(network(DENSE))
    assert list(one) == ["a", "y"]
    for name, values in one.items():
        assert values.dtype == np.uint64
        np.testing.assert_array_equal(values, other[name])
        assert len(np.unique(values)) == len(values)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("text", "weight", "place", "site", "neuron"),
    [
        (DENSE, "w0", (2, 1), "a", 2),
        (DENSE, "b0", (3,), "a", 3),
        (DENSE, "w1", (3, 1), "y", 1),
        (DENSE, "b1", (0,), "y", 0),
        (CONV, "w0", (1, 1, 2, 0), "y", 1),
    ],
)
def test_a_flipped_bit_changes_the_digest_of_its_neuron_alone(text, weight, place, site, neuron, kind):
    before, after = network(text, kind), network(text, kind, **{weight: place})
    one, other = of(before), of(after)
    sites, _ = find_sites(after)
    for name, same in unchanged_neurons(after, before, sites).items():
        np.testing.assert_array_equal(one[name] == other[name], same)
        expected = [name != site or k != neuron for k in range(len(same))]
        assert same.tolist() == expected


def test_they_are_the_sum_that_the_module_says():
    model = network(DENSE)
    values = model.graph.initializers["w0"].const_value.numpy().view(np.uint32)
    bias = model.graph.initializers["b0"].const_value.numpy().view(np.uint32)

    def key(place: int) -> int:
        mixed = (place + 1) * 0x9E3779B97F4A7C15 % 2**64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        return (mixed ^ mixed >> 31) | 1

    for neuron, digest in enumerate(of(model)["a"].tolist()):
        hashed = 3 * key(0) + sum(int(values[neuron, k]) * key(k) for k in range(3))
        hashed += key(2 << 40) + int(bias[neuron]) * key(2 << 40)
        assert digest == hashed % 2**64


def test_exchanged_and_negated_weights_are_changes():
    rng = np.random.default_rng(1)
    row = rng.normal(size=64).astype(np.float32)
    rows = [row, row[::-1], -row, np.roll(row, 1)]
    for pair in ((0, 1), (0, 63)):
        swapped, negated = row.copy(), row.copy()
        swapped[list(pair)] = row[list(pair[::-1])]
        negated[list(pair)] *= -1
        rows += [swapped, negated]
    found = digests._hashed(np.stack(rows), 0, 0, len(rows), 0)
    assert len(np.unique(found)) == len(rows)


def test_random_rows_do_not_collide():
    rows = np.random.default_rng(2).integers(0, 2, (20_000, 16)).astype(np.uint8)
    found = digests._hashed(rows, 0, 0, len(rows), 0)
    assert len(np.unique(found)) == len(np.unique(rows, axis=0))


def test_the_axis_of_the_neurons_does_not_matter():
    values = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
    along = digests._hashed(values, 0, 1, 2, 0)
    np.testing.assert_array_equal(along, digests._hashed(np.ascontiguousarray(values.T), 1, 1, 2, 0))
    np.testing.assert_array_equal(along, digests._hashed(values, 0, 0, 4, 0)[1:3])


def test_of_large_models_nothing_is_digested(monkeypatch):
    size = 4 * (12 + 4 + 8 + 2)
    monkeypatch.setattr(digests, "_MOST_BYTES", size - 1)
    assert of(network(DENSE)) == {}
    monkeypatch.setattr(digests, "_MOST_BYTES", size)
    assert list(of(network(DENSE))) == ["a", "y"]
