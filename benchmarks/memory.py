"""Peak memory of `nla.inspect` after 16 and after 1,600 batches: it must not grow with the data.

    python benchmarks/memory.py

Inputs are a few floats a sample, so that the data itself, which is memory-mapped and counts once it is read,
is small. Both passes count: the second, for the pre-activations, takes one sample in 64, and tries several samples
together only where it has several.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from harness import measure, report
from models import Graph
from onnx import TensorProto, helper

BATCHES = (16, 1600)
BATCH = {"dense": 16, "convolutional": 1}


def dense() -> onnx.ModelProto:
    """8 -> 2048 -> 2048 -> 4."""
    g = Graph("dense", 0)
    x, size = "x", 8
    for k in range(2):
        weight = g.weight(f"w{k}", size, 2048, scale=(2 / size) ** 0.5)
        x = g.node(
            "Relu", [g.node("Gemm", [x, weight, g.weight(f"b{k}", 2048, scale=0.1)], f"z{k}")], f"a{k}"
        )
        size = 2048
    y = g.node("Gemm", [x, g.weight("w", size, 4), g.weight("b", 4)], "y")
    return g.model(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8]), y, ["n", 4])


def convolutional() -> onnx.ModelProto:
    """8 x 8 images, enlarged to 128 x 128, through two convolutions of 32 channels."""
    g = Graph("convolutional", 0)
    g.constant("scales", [1, 1, 16, 16])
    x, channels = g.node("Resize", ["x", "", "scales"], "large", mode="nearest"), 3
    for k in range(2):
        weight = g.weight(f"w{k}", 32, channels, 3, 3, scale=(2 / (9 * channels)) ** 0.5)
        z = g.node("Conv", [x, weight, g.weight(f"b{k}", 32, scale=0.1)], f"z{k}", pads=[1] * 4)
        x, channels = g.node("Relu", [z], f"a{k}"), 32
    y = g.node("GlobalAveragePool", [x], "y")
    return g.model(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8]), y, ["n", 32, 1, 1])


MODELS = {"dense": dense, "convolutional": convolutional}


def one(name: str, batches: int, folder: Path) -> None:
    """Inspect the model over so many batches in this process, and print its peak memory."""
    import nla

    path = folder / f"{name}-{batches}.npy"
    # Left to itself, nla takes numpy for so little data as 16 batches, and importing numba takes 150 MB.
    settings = {"batch_size": BATCH[name], "threads": 2, "kernel": "numba"}
    nla.inspect(folder / f"{name}.onnx", path, in_process=True, **settings)
    report((0.0, 0.0))


def main() -> None:
    """Print the table, or run one of the processes behind it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "BATCHES", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], int(arguments.one[1]), Path(arguments.one[2]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, commands = Path(temporary), {}
        for name, made in MODELS.items():
            model = made()
            onnx.save_model(model, folder / f"{name}.onnx")
            shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
            for batches in BATCHES:
                x = np.random.default_rng(0).standard_normal((batches * BATCH[name], *shape), np.float32)
                np.save(folder / f"{name}-{batches}.npy", x)
                command = [str(Path(__file__).resolve()), "--one", name, str(batches), temporary]
                commands[f"{name} {batches}"] = command
        peak = {
            row.name: min(row.rss_mb, default=float("nan")) for row in measure(commands, arguments.rounds)
        }
    print("| model | peak MB after 16 batches | after 1,600 | ratio |\n|---|---|---|---|")
    for name in MODELS:
        short, long = (peak[f"{name} {batches}"] for batches in BATCHES)
        print(f"| {name} | {short:.0f} | {long:.0f} | {long / short:.3f} |")


if __name__ == "__main__":
    main()
