"""Models that kill, hang or exhaust onnxruntime end as one clear line of the supervised child."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import LimitError
from nla.isolation import Limits, run

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _tasks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def dies(tmp_path, text, match, limits, **arrays):
    path = tmp_path / "hostile.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    open_onnx(path)  # nothing that the cheap checks could see
    with pytest.raises(LimitError, match=match) as caught:
        run("isolated_tasks:open_session", {"path": str(path)}, arrays, limits=limits, subject=path.name)
    assert "\n" not in str(caught.value)


def test_the_division_that_the_processor_refuses(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g () => (int32[1] y) <int32[1] a = {-2147483648}, int32[1] b = {-1}> { y = Div (a, b) }
    """
    dies(tmp_path, text, "hostile.onnx: crashed with SIGFPE .* while creating the session", Limits())


def test_strings_that_double(tmp_path):
    doubled = " ".join(f"s{k + 1} = StringConcat (s{k}, s{k})" for k in range(50))
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    g () => (string[1] s50) {{ s0 = Constant <value = string[1] {{"aaaaaaaa"}}> () {doubled} }}
    """
    dies(tmp_path, text, r"asks for more than the memory limit of 0\.4 GiB", Limits(memory_bytes=400 * MIB))


def test_an_output_larger_than_memory(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (int64[1] n) => (float[k] y) { y = ConstantOfShape (n) }
    """
    limits = Limits(memory_bytes=400 * MIB)
    dies(tmp_path, text, "asks for more than the memory limit", limits, n=np.array([1 << 33]))


def test_a_loop_without_end(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y) <int64 trips = {4611686018427387904}, bool yes = {1}> {
      y = Loop (trips, yes, x) <
        body = b (int64 i, bool c, float[1] v) => (bool d, float[1] w) { d = Identity (c) w = Neg (v) }
      >
    }
    """
    limits = Limits(seconds=3)
    dies(
        tmp_path,
        text,
        r"not done after the time limit of 3 s \(--time-limit\)",
        limits,
        x=np.ones(1, np.float32),
    )
