"""Graphs for the tests of site finding, written as ONNX text, and an oracle that asks the graph itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import ModelProto, numpy_helper, parser, shape_inference

from nla.graph.find import find_sites
from nla.site import NotUnderstood, Site

Weights = Mapping[str, Any]
"""Initializers by name: an array, or a shape to fill with seeded normal numbers."""


def model(head: str, body: str, weights: Weights | None = None, opset: int = 18) -> ModelProto:
    """A model from its signature ('float[N,4] x => float[N,2] y'), its nodes and its weights."""
    inputs, outputs = head.split("=>")
    text = f"g ({inputs}) => ({outputs}) {{\n{body}\n}}"
    header = f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1, "other" : 1]>'
    proto = parser.parse_model(f"{header}\n{text}")
    numbers = np.random.default_rng(0)
    for name, value in (weights or {}).items():
        array = (
            np.asarray(value)
            if isinstance(value, np.ndarray | np.generic)
            else numbers.standard_normal(value).astype(np.float32)
        )
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    for at, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{at}"
    return proto


def loaded(proto: ModelProto) -> ir.Model:
    """The model as site finding gets it: shapes inferred."""
    return ir.from_proto(shape_inference.infer_shapes(proto, data_prop=True))


def find(proto: ModelProto, *include: str) -> tuple[dict[str, Site], dict[str, NotUnderstood]]:
    """Sites and places that were not understood, by name."""
    sites, left_alone = find_sites(loaded(proto), frozenset(include))
    return {site.name: site for site in sites}, {place.name: place for place in left_alone}


def run(proto: ModelProto, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """The named tensors, by onnxruntime without optimisation."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(list(names), dict(feeds))]


def feeds(proto: ModelProto, size: int = 3) -> dict[str, np.ndarray]:
    """Seeded normal numbers for every input; free axes get `size`."""
    numbers = np.random.default_rng(1)
    made = {}
    known = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name not in known:
            shape = [d.dim_value or size for d in value.type.tensor_type.shape.dim]
            made[value.name] = numbers.standard_normal(shape).astype(np.float32)
    return made


def assert_channels(proto: ModelProto, site: Site) -> None:
    """Neuron k lies where the site says: changing its producer's weights changes that slice and no other.

    Asked of the graph itself, run before and after; holds where no step mixes channels.
    """
    given = feeds(proto)
    before = rows(run(proto, given, [site.name])[0], site)
    assert before.shape[0] == site.neurons * site.unit_size
    assert site.producers
    seen: set[int] = set()
    for producer in site.producers:
        tensor = next(t for t in proto.graph.initializer if t.name == producer.weight)
        weight = numpy_helper.to_array(tensor)
        for channel in range(
            weight.shape[producer.weight_axis] * _per_weight(site, producer.op_type, producer.groups)
        ):
            neuron = channel - producer.channel_offset
            changed = _changed(proto, producer.weight, weight, producer.weight_axis, channel, producer.groups)
            after = rows(run(changed, given, [site.name])[0], site)
            differs = np.flatnonzero(np.abs(after - before).reshape(len(before), -1).max(1) > 1e-6)
            assert set(differs) <= {neuron}, (site.name, producer, channel, differs)
            seen.update(differs)
    assert len(seen) >= site.neurons / 2, (
        "most changes should show, few neurons being silent before and after"
    )


def _per_weight(site: Site, op_type: str, groups: int) -> int:
    return groups if op_type == "ConvTranspose" else 1


def _changed(
    proto: ModelProto, name: str, weight: np.ndarray, axis: int, channel: int, groups: int
) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    array = weight.copy()
    each = weight.shape[axis]
    index: list[Any] = [slice(None)] * weight.ndim
    index[axis] = channel % each
    if channel >= each or (groups > 1 and axis == 1):  # ConvTranspose: a group is a run of input channels
        rows_each = weight.shape[0] // groups
        index[0] = slice(channel // each * rows_each, (channel // each + 1) * rows_each)
    array[tuple(index)] += 3.0
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def rows(value: np.ndarray, site: Site) -> np.ndarray:
    """[neurons, positions] of a tensor, by the site's channel axes."""
    axes = [axis % value.ndim for axis in site.channel_axes]
    moved = np.moveaxis(value, axes, range(len(axes)))
    return moved.reshape(int(np.prod(moved.shape[: len(axes)])), -1)
