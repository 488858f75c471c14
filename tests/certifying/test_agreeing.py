"""A proof is of one sample: where samples that are fed together meet, nothing is claimed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowering_graphs import model

import nla
from nla.certificates.ops.linear import Scale

MEETING = {
    "summed": "t = Transpose<perm=[1,0]>(x)\n s = ReduceSum(t, axis)\n u = Transpose<perm=[1,0]>(s)\n h = Add(x, u)",
    "first": "s = Gather<axis=0>(x, first)\n h = Sub(x, s)",
    "counted": "s = Shape(x)\n n = Gather<axis=0>(s, first)\n c = Cast<to=1>(n)\n h = Mul(x, c)",
    "in one row": "r = Reshape(x, row)\n s = ReduceMax<axes=[1], keepdims=1>(r)\n h = Sub(s, x)",
}
APART = {
    "plain": "h = Neg(x)",
    "turned": "t = Transpose<perm=[1,0]>(x)\n n = Neg(t)\n h = Transpose<perm=[1,0]>(n)",
    "normalised": "h = LayerNormalization(x, one)",
}
ARRAYS = {
    "axis": np.array([1]),
    "first": np.array(0),
    "row": np.array([1, -1]),
    "one": np.ones(3, np.float32),
    "w": np.ones((3, 2), np.float32),
    "b": np.full(2, -4, np.float32),
}


def proved(body: str, folder) -> nla.Certificates:
    made = model(
        f"{body}\n z = Gemm(h, w, b)\n y = Relu(z)",
        "float[N, 3] x",
        "y",
        13 if "axis" in body else 17,
        **ARRAYS,
    )
    onnx.save(made, folder / "model.onnx")
    return nla.certify(folder / "model.onnx", box="0:1", in_process=True)


@pytest.mark.parametrize("graph", MEETING)
def test_samples_that_meet_leave_a_site_undecided(graph, tmp_path):
    (site,) = proved(MEETING[graph], tmp_path).undecidable
    assert "samples" in site.reason


@pytest.mark.parametrize("graph", APART)
def test_samples_that_are_told_apart_are_proved_of(graph, tmp_path):
    assert proved(APART[graph], tmp_path)["y"].verdict.tolist() == ["certified"] * 2


def test_a_rule_that_computes_something_else_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(Scale, "forward", lambda self, x: x * (0.5 * self.scale) + self.bias)
    (site,) = proved(APART["plain"], tmp_path).undecidable
    assert "another z" in site.reason
