"""What others take to gather less, or the same, from the same model and data.

onnxruntime's calibrators see every activation's input and output and keep a range (MinMax) or a histogram
(Percentile), nothing per neuron. The PyTorch hooks gather, per channel, the sums that one pass of nla
gathers: positive, fired, total, squares, magnitudes, min and max.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from harness import since, stopwatch
from onnx import helper, numpy_helper

BATCH = 8
Times = tuple[float, float]


def peer(name: str, path: Path, x: np.ndarray) -> Times:
    """Seconds that the peer takes for all samples; opening the model is not counted."""
    if name in ("MinMax", "Percentile"):
        return _calibrated(name, path, x)
    return _hooked(path, x, hooks=name == "torch hooks")


def _calibrated(method: str, path: Path, x: np.ndarray) -> Times:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    model = onnx.load(path)
    given = model.graph.input[0].name
    kinds = sorted({node.op_type for node in model.graph.node} & {"Relu", "Gelu"})

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, values: np.ndarray) -> None:
            self.parts: Iterator[np.ndarray] = iter(
                [values[k : k + BATCH] for k in range(0, len(values), BATCH)]
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {given: part}

    with tempfile.TemporaryDirectory() as folder:
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(
            str(path), kinds, augmented, calibrate_method=getattr(CalibrationMethod, method)
        )
        calibrator.collect_data(Reader(x[:BATCH]))
        begin = stopwatch()
        # In pieces of a batch: a histogram calibrator holds everything it is given at once before it bins.
        for k in range(0, len(x), BATCH):
            calibrator.collect_data(Reader(x[k : k + BATCH]))
        calibrator.compute_data()
        return since(begin)


def _hooked(path: Path, x: np.ndarray, hooks: bool) -> Times:
    import torch

    torch.set_num_threads(2)
    network = _network(onnx.load(path))
    sums: dict[str, Any] = {}
    if hooks:
        for name, module in network.activations.items():
            module.register_forward_hook(lambda _m, _i, out, name=name: _gather(sums, name, out))
    parts = [torch.from_numpy(np.ascontiguousarray(x[k : k + BATCH])) for k in range(0, len(x), BATCH)]
    if x.ndim == 4:
        parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    with torch.inference_mode():
        network(parts[0])
        begin = stopwatch()
        for part in parts:
            network(part)
        return since(begin)


def _gather(sums: dict[str, Any], name: str, a: Any) -> None:
    """Add one activation tensor to its channels' sums."""
    import torch

    axes = (0, 2, 3) if a.ndim == 4 else tuple(range(a.ndim - 1))
    size = a.abs()
    counts = [(a > 0).sum(axes), (size > 1e-3).sum(axes)]
    new = [*counts, a.sum(axes), (a * a).sum(axes), size.sum(axes), a.amin(axes), a.amax(axes)]
    if name in sums:
        old = sums[name]
        new = [*(p + q for p, q in zip(old[:5], new[:5], strict=True)), torch.minimum(old[5], new[5]),
               torch.maximum(old[6], new[6])]  # fmt: skip
    sums[name] = new


def _network(model: onnx.ModelProto) -> Any:
    """The ONNX graph as a PyTorch module with the same weights; every activation is a submodule."""
    import torch

    kinds = {"Relu": torch.nn.ReLU, "Gelu": torch.nn.GELU}

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = {
                w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in model.graph.initializer
            }
            if any(node.op_type == "Conv" for node in model.graph.node):
                for name, value in self.weights.items():
                    if value.ndim == 4:
                        self.weights[name] = value.contiguous(memory_format=torch.channels_last)
            self.activations = {
                node.output[0]: kinds[node.op_type]() for node in model.graph.node if node.op_type in kinds
            }

        def forward(self, x: Any) -> Any:
            there = {**self.weights, model.graph.input[0].name: x}
            for node in model.graph.node:
                values = [there[name] for name in node.input]
                if node.output[0] in self.activations:
                    there[node.output[0]] = self.activations[node.output[0]](*values)
                else:
                    there[node.output[0]] = _run(node, values)
                for name in _last_read(model)[node.output[0]]:
                    del there[name]
            return there[model.graph.output[0].name]

    return Network().eval()


_READ: dict[int, dict[str, list[str]]] = {}


def _last_read(model: onnx.ModelProto) -> dict[str, list[str]]:
    """By node: the activations that no later node reads."""
    if id(model) not in _READ:
        made = {output for node in model.graph.node for output in node.output}
        last = {name: node.output[0] for node in model.graph.node for name in node.input if name in made}
        freed: dict[str, list[str]] = {node.output[0]: [] for node in model.graph.node}
        for name, reader in last.items():
            freed[reader].append(name)
        _READ[id(model)] = freed
    return _READ[id(model)]


def _run(node: onnx.NodeProto, values: list[Any]) -> Any:
    """One ONNX node in PyTorch, for the operators that `models.py` uses."""
    import torch
    from torch.nn import functional

    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    known: dict[str, Callable[..., Any]] = {
        "Add": torch.add,
        "Mul": torch.mul,
        "MatMul": torch.matmul,
        "Softmax": lambda x: torch.softmax(x, -1),
        "Conv": lambda x, w: functional.conv2d(x, w, stride=given["strides"], padding=given["pads"][:2]),
        "BatchNormalization": lambda x, s, b, m, v: functional.batch_norm(x, m, v, s, b, eps=1e-5),
        "MaxPool": lambda x: functional.max_pool2d(
            x, given["kernel_shape"], given["strides"], given["pads"][0]
        ),
        "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
        "Flatten": lambda x: x.flatten(1),
        "Gemm": lambda x, w, b: torch.addmm(b, x, w),
        "LayerNormalization": lambda x, s, b: functional.layer_norm(x, s.shape, s, b),
        "Gather": lambda table, k: functional.embedding(k, table),
        "Reshape": lambda x, to: x.reshape([n or x.shape[k] for k, n in enumerate(to.tolist())]),
        "Transpose": lambda x: x.permute(given["perm"]),
    }
    return known[node.op_type](*values)


def check(path: Path, x: np.ndarray) -> float:
    """Largest difference between PyTorch's output and onnxruntime's, relative to the output's size."""
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: x})[0]
    with torch.inference_mode():
        got = _network(onnx.load(path))(torch.from_numpy(x)).numpy()
    return float(np.abs(got - want).max() / np.abs(want).max())


if __name__ == "__main__":
    import argparse

    from models import MODELS, build, data

    parser = argparse.ArgumentParser(
        description="Check that the PyTorch networks compute what the ONNX models do."
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/nla-benchmarks"))
    folder = parser.parse_args().folder
    for name in MODELS:
        print(f"{name}: largest relative difference {check(build(name, folder), data(name, 2)):.1e}")
