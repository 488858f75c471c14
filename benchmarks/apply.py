"""`nla apply` on large models, beside copying and hashing the same bytes: time as a ratio, and peak memory.

    python benchmarks/apply.py [--gigabytes 2] [--rounds 3] [--folder /tmp]

The model is a chain of square dense layers, made for the run and deleted after it; the edit removes 40 units of every
layer, so that every weight is read, cut and written. "External" keeps the weights beside the protobuf, "inline"
(half as large: a protobuf ends at 2 GB) in it. Each variant runs in a process of its own, and the ratio is to
copying and hashing in the same round. What `apply` must keep to, by the size of the largest weight or of the file,
stands in the last column.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Row, measure, report, since, stopwatch
from onnx import TensorProto, helper

LAYERS = 8
REMOVED = 40
_PIECE_BYTES = 4 << 20


def make(folder: Path, gigabytes: float, *, external: bool) -> Path:
    """A chain of dense layers with about that many bytes of weights, written weight by weight."""
    width = int((gigabytes * 2**30 / 4 / LAYERS) ** 0.5) // 64 * 64
    path, rng = folder / "model.onnx", np.random.default_rng(0)
    nodes, weights = [], []
    with (folder / "model.onnx.data").open("wb") as data:
        for k in range(LAYERS):
            weight = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[width, width])
            array = rng.standard_normal((width, width), np.float32)
            if external:
                weight.data_location = TensorProto.EXTERNAL
                for key, value in (("location", "model.onnx.data"), ("offset", data.tell())):
                    weight.external_data.add(key=key, value=str(value))
                data.write(array.data)
            else:
                weight.raw_data = array.tobytes()
            weights.append(weight)
            nodes.append(helper.make_node("MatMul", [f"a{k}", f"w{k}"], [f"z{k}"]))
            nodes.append(helper.make_node("Relu", [f"z{k}"], [f"a{k + 1}"]))
    if not external:
        (folder / "model.onnx.data").unlink()
    ends = [helper.make_tensor_value_info(f"a{k}", TensorProto.FLOAT, ["n", width]) for k in (0, LAYERS)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def manifest(model: Path, target: Path) -> None:
    """Remove units of every layer but the last, whose units are the model's output."""
    from nla.checkpoint.onnx_file import open_onnx
    from nla.manifest.document import Action, Manifest

    units = tuple(range(0, 2 * REMOVED, 2))
    actions = [Action(f"remove-{k}", "remove", f"a{k}", units) for k in range(1, LAYERS)]
    made = Manifest({"path": model.name, "digest": open_onnx(model).digest}, actions=tuple(actions))
    target.write_text(made.dumps())


def copy_and_hash(folder: Path) -> None:
    """What no edit can do without: every byte read, hashed and written, and flushed to the disk."""
    for source in folder.glob("model.onnx*"):
        with source.open("rb") as file, (folder / f"copy of {source.name}").open("wb") as target:
            shutil.copyfileobj(file, target, _PIECE_BYTES)
            target.flush()
            os.fsync(target.fileno())
        with source.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def edit(folder: Path, *, undo: bool) -> None:
    """Only reading and writing: the same cut through `ModelEdit`, without looking at the graph."""
    from nla.checkpoint.editing import ModelEdit
    from nla.checkpoint.onnx_file import open_onnx
    from nla.surgery.cutting.compacting import compacted

    change = ModelEdit(open_onnx(folder / "model.onnx"))
    width = change.shape("w0")[0]
    keep = np.delete(np.arange(width), np.arange(0, 2 * REMOVED, 2))
    for k in range(LAYERS):
        if k < LAYERS - 1:
            change.transform(f"w{k}", lambda w: compacted(w, 1, keep), (width, len(keep)))
        if k > 0:
            rows, columns = len(keep), change.shape(f"w{k}")[1]
            change.transform(f"w{k}", lambda w: compacted(w, 0, keep), (rows, columns))
    change.write(folder / "edited.onnx", undo=folder / "undo.safetensors" if undo else None)


def apply(folder: Path, *, undo: bool) -> None:
    """The verb itself, in its supervised child, with the trial of what it made."""
    import nla

    done = nla.apply(
        folder / "manifest.json",
        folder / "model.onnx",
        folder / "edited.onnx",
        record_undo=folder / "undo.safetensors" if undo else None,
    )
    if any(action.refused for action in done.actions):
        raise SystemExit(f"units stayed: {done.actions[0].refused[:1]}")


VARIANTS: dict[str, Callable[[Path], None]] = {
    "copy and hash": copy_and_hash,
    "read, cut, write": lambda folder: edit(folder, undo=False),
    "read, cut, write, with undo": lambda folder: edit(folder, undo=True),
    "nla apply": lambda folder: apply(folder, undo=False),
    "nla apply --record-undo": lambda folder: apply(folder, undo=True),
}


def one(name: str, folder: Path) -> None:
    """Run a variant in this process, and print its time and the peak memory of it and its children."""
    sources = {"model.onnx", "model.onnx.data", "manifest.json"}
    os.sync()
    begin = stopwatch()
    VARIANTS[name](folder)
    seconds = since(begin)
    for path in folder.iterdir():
        if path.name not in sources:
            path.unlink()
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report(seconds, f"{child:.0f}")


def line(row: Row, base: Row, limit_mb: float) -> str:
    """A line of the table: the ratio of each round, the smallest and the middle one."""
    if not row.seconds:
        return f"| {row.name} | {row.note} | | | |"
    ratios = sorted(mine / plain for mine, plain in zip(row.seconds, base.seconds, strict=True))
    peak = max(*row.rss_mb, float(row.note or 0))
    ratio = f"{ratios[0]:.2f} ({ratios[len(ratios) // 2]:.2f})"
    return f"| {row.name} | {row.best:.1f} | {ratio} | {peak:.0f} | {limit_mb:.0f} |"


def main() -> None:
    """Print a table for each kind of model, or run one of the processes behind them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room for four times the model")
    parser.add_argument("--only", choices=["external", "inline"])
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "FOLDER"))
    parser.add_argument("--make", nargs=2, metavar=("KIND", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], Path(arguments.one[1]))
        return
    if arguments.make:
        kind, folder = arguments.make[0], Path(arguments.make[1])
        manifest(make(folder, arguments.gigabytes, external=kind == "external"), folder / "manifest.json")
        return
    for kind in [arguments.only] if arguments.only else ["external", "inline"]:
        size = min(arguments.gigabytes, 16) / (1 if kind == "external" else 2)
        with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
            # In another process: the peak memory of a process begins with what its parent had.
            script = str(Path(__file__).resolve())
            made = [sys.executable, script, "--gigabytes", str(size), "--make", kind, temporary]
            subprocess.run(made, check=True)
            largest_mb = size * 1024 / LAYERS
            limit_mb = 2 * largest_mb + 300 if kind == "external" else 3 * size * 1024
            commands = {name: [script, "--one", name, temporary] for name in VARIANTS}
            rows = measure(commands, arguments.rounds)
        print(f"\n{kind}: {size:.1f} GB of weights, the largest {largest_mb:.0f} MB\n")
        print("| variant | s | ratio to copy and hash | peak MB | allowed MB |\n|---|---|---|---|---|")
        for row in rows:
            print(line(row, rows[0], limit_mb))


if __name__ == "__main__":
    main()
