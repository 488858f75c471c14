"""Which cuts separate a graph, and which stage computes a tensor."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import parser

from nla.errors import ModelError
from nla.replay.streaming.cutting import Cutting, cutting

CHAIN = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[n, 4] x, float[n, 1] m) => (float[n, 4] y) {
        s = Sqrt(m)
        a = Relu(x)
        b = Mul(a, s)
        c = Relu(b)
        d = Add(c, s)
        y = Relu(d)
    }
"""
AROUND = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[n, 4] x) => (float[n, 4] y) {
        a = Relu(x)
        b = Sqrt(a)
        c = Relu(b)
        d = Add(c, b)
        y = Relu(d)
    }
"""


def cut(text: str, *cuts: str) -> Cutting:
    return cutting(ir.from_proto(parser.parse_model(text)).graph, cuts)


def test_a_stage_is_what_depends_on_the_cut_before_it():
    found = cut(CHAIN, "a", "c")
    assert found.cuts == ("a", "c")
    assert {name: found.stage_of(name) for name in "sabcdy"} == {
        "s": 0,
        "a": 0,
        "b": 1,
        "c": 1,
        "d": 2,
        "y": 2,
    }


def test_what_needs_no_cut_is_no_reason_against_one():
    assert cut(CHAIN, "a", "b", "c", "d").cuts == ("a", "b", "c", "d")


def test_a_cut_that_is_read_past_is_no_cut():
    found = cut(AROUND, "a", "b", "c", "d")
    assert found.cuts == ("a", "b", "d")
    assert found.stage_of("c") == found.stage_of("d") == 2


@pytest.mark.parametrize("cuts", [("nowhere", "a", "c"), ("a", "c", "c"), ("x", "a", "c"), ("c", "a")])
def test_names_that_cut_nothing_are_passed_over_and_the_order_is_that_of_the_graph(cuts):
    assert cut(CHAIN, *cuts).cuts == ("a", "c")


def test_without_cuts_there_is_one_stage():
    found = cut(CHAIN)
    assert (found.stages, found.before(0), found.after(0)) == (1, None, None)


def test_a_tensor_that_is_not_there_is_told():
    with pytest.raises(ModelError, match="'z' is not in the graph"):
        cut(CHAIN).stage_of("z")
