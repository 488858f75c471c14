"""ONNX text and weights into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser


def model(
    text: str, weights: Mapping[str, NDArray[Any]], *, opset: int = 17, ir_version: int = 8
) -> onnx.ModelProto:
    """The graph in ONNX text form with `weights` as initializers; float64 ones become float32."""
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}], producer_name: "nla sample_models">\n'
    proto = parser.parse_model(header + text)
    for name, values in weights.items():
        plain = values.astype(np.float32) if values.dtype == np.float64 else values
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(plain), name))
    return proto


def layer_weights(layers: list[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """`fc1.weight` [out, in] and `fc1.bias`, `fc2.weight`, … as PyTorch names them."""
    named: dict[str, NDArray[Any]] = {}
    for k, (w, b) in enumerate(layers, 1):
        named |= {f"fc{k}.weight": w, f"fc{k}.bias": b}
    return named
