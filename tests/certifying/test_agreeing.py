"""A proof is of one sample: where samples that are fed together meet, nothing is claimed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowering_graphs import model

import nla
from nla.certificates.ops.linear import Scale
from nla.certificates.sets import Box
from nla.lowering.rules.base import Lowered

MEETING = {
    "summed": "t = Transpose<perm=[1,0]>(x)\n s = ReduceSum(t, axis)\n u = Transpose<perm=[1,0]>(s)\n h = Add(x, u)",
    "first": "s = Gather<axis=0>(x, first)\n h = Sub(x, s)",
    "counted": "s = Shape(x)\n n = Gather<axis=0>(s, first)\n c = Cast<to=1>(n)\n h = Mul(x, c)",
    "placed": "p = ArgMax<axis=0>(x)\n c = Cast<to=1>(p)\n h = Add(x, c)",
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


def test_positions_and_samples_on_one_axis_are_not_normalised_together(tmp_path):
    """Of one sample two positions lie within 1 of their mean; of three samples six positions do not."""
    body = (
        "v = Reshape(x, rows)\n m = ReduceMean<axes=[0]>(v)\n d = Sub(v, m)\n q = Mul(d, d)\n"
        " a = ReduceMean<axes=[0]>(q)\n e = Add(a, least)\n s = Sqrt(e)\n n = Div(d, s)\n"
        " z = Gemm(n, w, b)\n y = Relu(z)"
    )
    arrays = {"rows": np.array([-1, 3]), "least": np.float32([1e-5]), "w": np.eye(3, dtype=np.float32)}
    made = model(body, "float[N, 2, 3] x", **arrays, b=np.full(3, -1.5, np.float32))
    onnx.save(made, tmp_path / "model.onnx")
    (site,) = nla.certify(tmp_path / "model.onnx", domain="any", in_process=True).undecidable
    assert "samples" in site.reason


def test_a_set_that_values_leave_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Lowered, "ball", lambda self, shape, *_: Box(np.full(shape, -0.1), np.full(shape, 0.1))
    )
    (site,) = proved(APART["normalised"], tmp_path).undecidable
    assert "another z" in site.reason
