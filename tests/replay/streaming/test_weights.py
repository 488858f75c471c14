"""Weights as they are fed: views of the files, or exact float32 copies."""

from __future__ import annotations

from pathlib import Path

import cut_checkpoints as made
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from safetensors.numpy import save_file

from nla.architectures.builder import FLOAT, Graph
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.safetensors_source import open_safetensors
from nla.graph.prepare import prepare
from nla.replay.session import CPU, give_memory_back
from nla.replay.streaming.sessions import Sessions, StageSession
from nla.replay.streaming.stage_graph import stage_graph
from nla.replay.streaming.weights import BoundWeights, as_float32


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_values_are_cast_as_numpy_casts_them(dtype):
    values = np.array([0.0, -0.0, 1.5, -3.25, 6e-8, 65504, np.inf, -np.inf, np.nan, 1e-3]).astype(dtype)
    bits = values.view(np.uint16) if dtype == ml_dtypes.bfloat16 else values
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    np.testing.assert_array_equal(as_float32(bits, kind), values.astype(np.float32))


def bound(checkpoint, tap):
    graph = stage_graph(prepare(checkpoint).model, [tap], None)
    return BoundWeights(checkpoint.external_files).feeds(graph.weights)


def test_float32_is_mapped_and_read_only(tmp_path):
    folder = made.layers(tmp_path / "c")
    for name, array in bound(made.network(folder), "act.1").items():
        assert not array.flags.writeable
        assert not array.flags.owndata
        np.testing.assert_array_equal(array, made.network(folder).source.array(name))


def test_a_weight_at_an_odd_place_is_copied(tmp_path):
    folder = made.layers(tmp_path / "c")
    _shift(folder / "model.safetensors")
    plain, odd = (bound(made.network(f), "act.0") for f in (made.layers(tmp_path / "d"), folder))
    for name, array in odd.items():
        assert array.flags.aligned
        assert array.flags.owndata
        np.testing.assert_array_equal(array, plain[name])


def _shift(path: Path) -> None:
    """Make the header one byte longer, so that no tensor is aligned."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    path.write_bytes((size + 1).to_bytes(8, "little") + content[8 : 8 + size] + b" " + content[8 + size :])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_run_takes_no_memory_for_mapped_weights(tmp_path, dtype):
    width = 2048  # 16 MiB a matrix as float32
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    tensors = {f"{k}.weight": np.full((width, width), 2.0**-11, kind) for k in range(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    source = open_safetensors(tmp_path)
    graph = Graph(source)
    x = graph.input("x", FLOAT, ["n", width])
    for k in range(4):
        x = graph.linear(x, str(k), width, width, bias=False)
    graph.output(x, "y", ["n", width])
    checkpoint = BuiltCheckpoint.of(source, graph.finish("layers"))
    sessions = Sessions(prepare(checkpoint).model, checkpoint.external_files, (CPU,))
    stage = sessions.stage(["y"], None)
    session = sessions.session(stage.content)
    give_memory_back()  # what earlier tests freed would serve the copies
    before = _anonymous_bytes()
    weights = sessions.bind()
    feeds = weights.feeds(stage.weights)
    result = StageSession(session, stage, feeds).run(["y"], {"x": np.ones((2, width), np.float32)})
    grown = _anonymous_bytes() - before
    assert (result[0] == 1.0).all()
    copies = 0 if dtype == "float32" else 4 * 4 * width * width
    assert copies - (4 << 20) < grown < copies + (12 << 20)
    del weights, feeds
    give_memory_back()
    assert _anonymous_bytes() - before < 12 << 20


def _anonymous_bytes() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) << 10
