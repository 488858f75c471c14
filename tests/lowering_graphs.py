"""Small graphs as text, lowered, and held against onnxruntime: values, ranges and backward bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from nla.certificates import backward
from nla.certificates.interval import ranges
from nla.certificates.network import Network
from nla.certificates.sets import Box, Hull
from nla.checkpoint.onnx_file import open_onnx
from nla.graph.assemble import assemble
from nla.graph.find import walked
from nla.graph.prepare import prepare
from nla.lowering.lower import lower

RNG = np.random.default_rng(6)


def weights(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def model(
    body: str,
    inputs: str = "float[1, 4] x",
    outputs: str = "y",
    opset: int = 17,
    domains: str = "",
    **arrays: np.ndarray,
) -> onnx.ModelProto:
    """A model from onnx's text: nodes, inputs with their types, names of outputs, initializers by name."""
    made = ", ".join(f"float[] {name.strip()}" for name in outputs.split(","))
    parsed = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}{domains}]> g ({inputs}) => ({made}) {{ {body} }}'
    )
    for output in parsed.graph.output:
        output.CopyFrom(onnx.helper.make_empty_tensor_value_info(output.name))
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in arrays.items())
    return parsed


@dataclass
class Case:
    """A model, its network, and what onnxruntime says."""

    model: onnx.ModelProto
    network: Network

    def run(self, feeds: Mapping[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
        """These tensors by onnxruntime, graph optimisations off."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model)
        have = {output.name for output in proto.graph.output}
        proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names if n not in have)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = ort.InferenceSession(proto.SerializeToString(), options)
        return session.run(names, dict(feeds))


def lowered(made: onnx.ModelProto, folder, shapes: Mapping[str, list[int]] | None = None) -> Case:
    """The network of a model, by the way that a checkpoint takes."""
    path = folder / "model.onnx"
    onnx.save(made, path)
    prepared = prepare(open_onnx(path), None, shapes)
    walk = walked(prepared.model)
    alone = all(value.type.tensor_type.shape.dim[0].dim_value == 1 for value in made.graph.input)
    return Case(made, lower(prepared.model.graph, walk, assemble(walk, frozenset()), alone=alone))


def held(
    case: Case, names: list[str], low: float = -1.0, high: float = 1.0, count: int = 6, close: float = 2e-5
) -> None:
    """Assert that values equal onnxruntime's, and that ranges and backward bounds hold them."""
    network = case.network
    sizes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in case.model.graph.input}
    kinds = {
        i.name: onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type)
        for i in case.model.graph.input
    }
    box = {name: Box(np.full(s, low), np.full(s, high)) for name, s in network.inputs.items()}
    known = ranges(network, box)
    points: dict[str, list[np.ndarray]] = {name: [] for name in network.inputs}
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for k in range(count):
        feeds = {}
        for name, shape in network.inputs.items():
            x = RNG.uniform(low, high, sizes[name]) if k % 2 else RNG.choice([low, high], sizes[name])
            feeds[name] = x.astype(kinds[name])
            points[name].append(feeds[name].reshape(shape).astype(np.float64))
        for name, value in zip(names, case.run(feeds, names), strict=True):
            assert name in network.place or name in network.given, f"{name} was not lowered"
            seen[name].append(np.asarray(value, np.float64).reshape(network.shapes[name]))
    values = {name: np.stack(rows) for name, rows in points.items()}
    hull = ranges(network, {name: Hull(rows) for name, rows in values.items()})
    for name in names:
        got = np.stack(seen[name])
        assert name in network.place, f"{name} has a range only"
        exact = network.forward(values, [name])[name]
        assert np.abs(exact - got).max(initial=0) <= close * (1 + np.abs(got).max(initial=0)), name
        for found in (known, hull):
            inside = found.boxes[name]
            assert (inside.lo <= got).all(), name
            assert (got <= inside.hi).all(), name
            A = RNG.normal(size=(5, *got.shape[1:])) * (RNG.random((5, *got.shape[1:])) < 0.5)
            bound = backward.upper(network, found, name, A)
            reached = A.reshape(5, -1) @ got.reshape(len(got), -1).T
            assert (reached <= bound[:, None] + 1e-12).all(), name
