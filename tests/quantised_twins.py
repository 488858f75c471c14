"""A small network of float32, and its twins: int8 by onnxruntime's own quantiser, and float16 by hand."""

from __future__ import annotations

import itertools
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Arrays = dict[str, NDArray[Any]]
WIDTHS = (8, 16, 12, 3)
SITES = ("a0", "a1")


def data(samples: int = 400) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(samples, WIDTHS[0])).astype(np.float32)


def weights(lost: float) -> Arrays:
    """Of three layers. Neuron 3 of the first is `lost` times as large as it would be; neuron 5 is dead; neuron 6 of the
    second sees nothing and is constant."""
    rng = np.random.default_rng(1)
    made: Arrays = {}
    for k, (rows, columns) in enumerate(itertools.pairwise(WIDTHS)):
        made[f"w{k}"] = rng.normal(0, 0.5, (rows, columns)).astype(np.float32)
        made[f"b{k}"] = rng.normal(0, 0.2, columns).astype(np.float32)
    made["w0"][:, 3] *= lost
    made["b0"][3] *= lost
    made["b0"][5] = -50
    made["w1"][:, 6] = 0
    made["b1"][6] = 0.3
    return made


def model(made: Arrays, activation: str = "Relu", dtype: Any = np.float32) -> onnx.ModelProto:
    """x -> Gemm, activation, Gemm, activation, Gemm -> y, with sites a0 and a1."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, source = [], "x"
    for k in range(3):
        result = "y" if k == 2 else f"z{k}"
        nodes.append(helper.make_node("Gemm", [source, f"w{k}", f"b{k}"], [result], name=f"gemm{k}"))
        if k < 2:
            nodes.append(helper.make_node(activation, [result], [SITES[k]], name=f"act{k}"))
            source = SITES[k]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", WIDTHS[0]])],
        [helper.make_tensor_value_info("y", kind, ["n", WIDTHS[-1]])],
        [numpy_helper.from_array(array.astype(dtype), name) for name, array in made.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantise(source: Path, output: Path, form: str, calibration: NDArray[np.float32]) -> None:
    """The int8 twin in the form QDQ or QOperator, with the ranges that `calibration` reaches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self.batches = iter([{"x": calibration}])

            def get_next(self) -> Any:
                return next(self.batches, None)

        level = logging.root.level
        logging.disable(logging.WARNING)
        try:
            quantization.quantize_static(
                str(source),
                str(output),
                Reader(),
                quant_format=quantization.QuantFormat[form],
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
            logging.root.setLevel(level)


def float_activations(made: Arrays, x: NDArray[np.float32]) -> Arrays:
    """Of both sites with Relu, in float64."""
    found: Arrays = {}
    a = x.astype(np.float64)
    for k, name in enumerate(SITES):
        a = np.maximum(a @ made[f"w{k}"].astype(np.float64) + made[f"b{k}"], 0)
        found[name] = a
    return found


def quantised_activations(
    path: Path, x: NDArray[np.float32]
) -> tuple[Arrays, dict[str, tuple[float, float]]]:
    """Of both sites, dequantised by hand from the integers in the graph; and (step, top) of each site's type."""
    import onnxruntime

    proto = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    integers = {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in (*SITES, "z0", "z1"):
            integers[node.output[0]] = tuple(node.input[1:3])
        elif node.op_type == "QGemm" and node.output[0] != "y_quantized" and len(node.input) > 8:
            integers[node.output[0]] = tuple(node.input[7:9])
    chosen = list(integers.items())[:2]
    del proto.graph.output[:]
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name, _ in chosen
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(None, {"x": x})
    found, grids = {}, {}
    for site, (_, (scale, zero)), q in zip(SITES, chosen, values, strict=True):
        step, at = float(constants[scale]), int(constants[zero])
        found[site] = (q.astype(np.int64) - at) * step
        grids[site] = (step, (255 - at) * step)
    return found, grids
