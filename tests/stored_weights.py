"""Models for the tests of editing: weights in every place and type that ONNX has. Knows nothing of nla."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Array = NDArray[Any]

TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
    TensorProto.INT4: ml_dtypes.int4,
    TensorProto.UINT4: ml_dtypes.uint4,
}
TYPED_FIELD = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT64: "uint64_data",
}
"""All other types keep their numbers in int32_data."""


def values(data_type: int, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Small integers of either sign where the type has them: exact in every type."""
    low, high = (0, 2) if data_type == TensorProto.BOOL else (-4, 5)
    if data_type in (TensorProto.UINT8, TensorProto.UINT64, TensorProto.UINT4):
        low = 0
    return np.random.default_rng(seed).integers(low, high, shape).astype(TYPES[data_type])


def raw_bytes(array: Array, data_type: int) -> bytes:
    """As raw_data holds them; two elements a byte for the types of four bits, worked out one by one."""
    if data_type not in (TensorProto.INT4, TensorProto.UINT4):
        return array.tobytes()
    codes = [int(value) & 15 for value in array.reshape(-1)] + [0]
    return bytes(codes[k] | codes[k + 1] << 4 for k in range(0, array.size, 2))


def raw_tensor(name: str, data_type: int, array: Array) -> TensorProto:
    """A tensor in raw_data."""
    raw = raw_bytes(array, data_type)
    return TensorProto(name=name, data_type=data_type, dims=array.shape, raw_data=raw)


def typed_tensor(name: str, data_type: int, array: Array, *, packed: bool = True) -> TensorProto:
    """A tensor in the typed field; types of four bits either packed or an element an entry."""
    tensor = TensorProto(name=name, data_type=data_type, dims=array.shape)
    field = TYPED_FIELD.get(data_type, "int32_data")
    flat = array.reshape(-1)
    if data_type in (TensorProto.INT4, TensorProto.UINT4):
        entries = list(raw_bytes(array, data_type)) if packed else [int(v) for v in flat]
    elif data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        entries = flat.view(np.uint16).tolist()
    elif data_type in (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2):
        entries = flat.view(np.uint8).tolist()
    else:
        entries = [int(value) for value in flat] if data_type == TensorProto.BOOL else flat.tolist()
    getattr(tensor, field).extend(entries)
    return tensor


def sparse_tensor(name: str, array: Array) -> onnx.SparseTensorProto:
    """The float matrix as a sparse tensor."""
    flat = array.reshape(-1)
    at = np.flatnonzero(flat)
    kept = onnx.numpy_helper.from_array(flat[at], name)
    return helper.make_sparse_tensor(kept, onnx.numpy_helper.from_array(at), list(array.shape))


@dataclass
class External:
    """Puts tensors into external files beside a model."""

    folder: Path

    def put(self, tensor: TensorProto, location: str, *, align: int = 1) -> TensorProto:
        """The tensor with its raw bytes appended to the file."""
        path = self.folder / location
        content = path.read_bytes() if path.exists() else b""
        content += bytes(-len(content) % align)
        path.write_bytes(content + tensor.raw_data)
        return self.refer(tensor, location, len(content), len(tensor.raw_data))

    def refer(self, tensor: TensorProto, location: str, offset: int, length: int) -> TensorProto:
        """The tensor with its values said to lie there."""
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


def model_of(
    initializers: list[TensorProto],
    *,
    constants: dict[str, onnx.AttributeProto] | None = None,
    sparse: list[onnx.SparseTensorProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    """A model in which every weight is an output, by way of an Identity each."""
    nodes = [helper.make_node("Constant", [], [name]) for name in constants or {}]
    for node, attribute in zip(nodes, (constants or {}).values(), strict=True):
        node.attribute.append(attribute)
    names = [t.name for t in initializers] + [t.values.name for t in sparse or []] + list(constants or {})
    nodes += [helper.make_node("Identity", [name], [f"{name}_out"], f"read {name}") for name in names]
    outputs = [onnx.ValueInfoProto(name=f"{name}_out") for name in names]
    graph = helper.make_graph(nodes, "g", inputs or [], outputs, initializers, "a graph", [], sparse or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model.producer_name = "tests"
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    """The model in a file, in protobuf's own order."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def network(rng: np.random.Generator, *, width: int = 16) -> onnx.ModelProto:
    """Two layers that run: x [n, 8] -> y [n, 4]."""

    def weight(name: str, *shape: int) -> TensorProto:
        array = rng.standard_normal(shape).astype(np.float32)
        return raw_tensor(name, TensorProto.FLOAT, array)

    nodes = [
        helper.make_node("Gemm", ["x", "W1", "b1"], ["z"]),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Gemm", ["a", "W2", "b2"], ["y"]),
    ]
    weights = [weight("W1", 8, width), weight("b1", width), weight("W2", width, 4), weight("b2", 4)]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
