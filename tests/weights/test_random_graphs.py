"""On random networks with rows, columns and scales set to zero: what weights prove is what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from random_graphs import random_network
from site_graphs import run

import nla
from nla.site import Site
from nla.weights.results import SiteWeights, WeightInspection


def holed(proto: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """The model with a slice in ten of every weight set to zero, along a random axis, and half of the scales' too."""
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype != np.float32 or not array.ndim or array.size < 4:
            continue
        axis = int(rng.integers(0, min(array.ndim, 2)))
        gone = rng.random(array.shape[axis]) < (0.3 if array.ndim > 1 else 0.1)
        np.moveaxis(array, axis, 0)[gone] = 0
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def units(value: np.ndarray, site: Site) -> np.ndarray:
    """[units, …]"""
    axis = site.channel_axes[-1]
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_proved_is_what_is_computed(seed, tmp_path):
    network = random_network(seed)
    rng = np.random.default_rng(seed)
    proto = holed(network.model, rng)
    onnx.save(proto, tmp_path / "model.onnx")
    found = nla.inspect(tmp_path / "model.onnx", in_process=True)
    assert isinstance(found, WeightInspection)
    sites = [site for site in found.sites if len(site.site.channel_axes) == 1 and site.site.unit_size == 1]
    feeds = {"x": (rng.standard_normal(network.x.shape) * 3).astype(np.float32)}
    values = dict(zip([s.name for s in sites], run(proto, feeds, [s.name for s in sites]), strict=True))
    for site in sites:
        a = units(values[site.name], site.site)
        for unit, value in site.values.items():
            np.testing.assert_allclose(a[unit], value, rtol=1e-4, atol=1e-5)
        for unit in np.flatnonzero(site.duplicate_exact):
            np.testing.assert_allclose(a[unit], a[site.duplicate_of[unit]], rtol=1e-4, atol=1e-4)
    _check_unread(proto, feeds, [s for s in sites if s.unread is not None and s.unread.any()], rng)


def _check_unread(
    proto: onnx.ModelProto, feeds: dict[str, np.ndarray], sites: list[SiteWeights], rng: np.random.Generator
) -> None:
    """The outputs do not change where something is added to the activation of units that nothing reads."""
    outputs = [value.name for value in proto.graph.output]
    before = run(proto, feeds, outputs)
    for site in sites:
        moved = onnx.ModelProto()
        moved.CopyFrom(proto)
        maker = next(node for node in moved.graph.node if site.name in node.output)
        maker.output[list(maker.output).index(site.name)] = "before_it_is_moved"
        shape = [1] * -site.site.channel_axes[-1]
        shape[0] = site.site.neurons
        assert site.unread is not None
        shift = (
            np.where(site.unread, rng.standard_normal(site.site.neurons), 0).astype(np.float32).reshape(shape)
        )
        moved.graph.initializer.append(numpy_helper.from_array(shift, "the_move"))
        add = onnx.helper.make_node("Add", ["before_it_is_moved", "the_move"], [site.name])
        at = list(moved.graph.node).index(maker)
        moved.graph.node.insert(at + 1, add)
        for old, new in zip(before, run(moved, feeds, outputs), strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_every_constant_that_was_planted_by_a_row_of_zeros_is_proved(seed, tmp_path):
    network = random_network(seed)
    onnx.save(network.model, tmp_path / "model.onnx")
    found = nla.inspect(tmp_path / "model.onnx", in_process=True)
    assert isinstance(found, WeightInspection)
    for site in found.sites:
        if site.name in network.planted:
            assert set(site.states[network.planted[site.name].constant]) <= {"constant"}
