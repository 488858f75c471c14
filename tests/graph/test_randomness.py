"""Outputs that are drawn at random are found, and no edit is judged by them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import nla
from nla.graph.randomness import drawn_outputs

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
HEAD = '<ir_version: 10, opset_import: ["" : 17]>\ng (float[n, 3] x) => (float[n, 2] y, float[n, 2] s, int64[2] k)'
SAMPLED = HEAD + (
    "<float[3, 2] W = {1, -1, 2, 0, 1, -2}> { z = MatMul (x, W) y = Relu (z) r = RandomNormalLike (y)"
    " s = Add (y, r) k = Shape (s) }"
)


@pytest.mark.parametrize(
    ("body", "drawn"),
    [
        ("{ r = RandomNormalLike (x) y = Add (x, r) w = Identity (x) v = Shape (r) }", ["y"]),
        ("{ r = RandomNormalLike (x) y = ZeroIfShape (r) w = Shape (r) v = Neg (y) }", ["y", "v"]),
        ("{ r = Dropout (x, share, yes) y = Neg (r) w = Relu (x) v = Dropout (x, share, no) }", ["y"]),
        (
            "{ y = If (yes) <then_branch = g1 () => (a) { a = RandomUniform <shape = [1]> () },"
            " else_branch = g2 () => (a) { a = Identity (x) }> w = Relu (x) v = Neg (y) }",
            ["y", "v"],
        ),
        ("{ y = Relu (x) w = Neg (x) v = Neg (w) }", []),
    ],
)
def test_what_a_random_operator_has_a_part_in_is_drawn(body, drawn):
    head = '<ir_version: 10, opset_import: ["" : 17]>\ng (float[3] x) => (float[3] y, float[3] w, float[3] v)'
    constants = "<float share = {0.5}, bool yes = {1}, bool no = {0}>"
    model = onnx.parser.parse_model(f"{head} {constants} {body}")
    assert list(drawn_outputs(ir.from_proto(model).graph)) == drawn


def test_an_output_that_is_drawn_is_not_compared_and_that_is_said(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(SAMPLED), path)
    found = nla.verify(path, path, X, in_process=True)
    assert found.holds
    assert [output.name for output in found.splits["calibration"].outputs] == ["y", "k"]
    assert any("at random were not compared: s" in note for note in found.notes)


def test_nothing_but_what_is_drawn_is_nothing_to_compare(tmp_path):
    model = onnx.parser.parse_model(SAMPLED)
    del model.graph.output[0], model.graph.output[1]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(nla.UsageError, match="every output is drawn at random"):
        nla.verify(tmp_path / "model.onnx", tmp_path / "model.onnx", X, in_process=True)
