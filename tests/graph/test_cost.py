"""Multiply-adds, against numbers worked out by hand."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from nla.graph.cost import multiply_adds


def cost(inputs: str, body: str, weights: str = "", samples: int = 1) -> int | None:
    """Of a graph in ONNX text."""
    header = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
    text = f"{header} g ({inputs}) => (float[...] y) <{weights}> {{ {body} }}"
    return multiply_adds(ir.from_onnx_text(text.replace("float[...]", "float")), samples)


@pytest.mark.parametrize(
    ("inputs", "body", "weights", "expected"),
    [
        ("float[n, 8] x, float[8, 3] w", "y = MatMul (x, w)", "", 8 * 3),
        ("float[n, 5, 8] x, float[8, 3] w", "y = MatMul (x, w)", "", 5 * 8 * 3),
        ("float[n, 8] x, float[3, 8] w", "y = Gemm <transB = 1> (x, w)", "", 8 * 3),
        ("float[n, 4, 10, 10] x, float[6, 4, 3, 3] w", "y = Conv (x, w)", "", 6 * 8 * 8 * 4 * 9),
        ("float[n, 4, 10, 10] x, float[4, 1, 3, 3] w", "y = Conv <group = 4> (x, w)", "", 4 * 8 * 8 * 9),
        ("float[n, 4, 5, 5] x, float[4, 2, 3, 3] w", "y = ConvTranspose (x, w)", "", 4 * 25 * 2 * 9),
        ("float[n, 4, 5] a, float[n, 5, 4] b", "y = MatMul (a, b)", "", 4 * 5 * 4),
        ("float[n, 3, 4] a, float[4, 6] b", 'y = Einsum <equation = "bij,jk->bik"> (a, b)', "", 3 * 4 * 6),
        ("float[n, 8] x", "y = Relu (x)", "", 0),
    ],
)
def test_products_and_convolutions_are_counted_for_one_sample(inputs, body, weights, expected):
    assert cost(inputs, body, weights) == expected


def test_a_recurrent_layer_counts_both_products_of_every_step():
    inputs = "float[7, 1, 3] x, float[1, 16, 3] w, float[1, 16, 4] r"
    assert cost(inputs, "y = LSTM <hidden_size = 4> (x, w, r)") == 7 * (16 * 3 + 16 * 4)


def test_more_samples_cost_in_proportion():
    assert cost("float[n, 8] x, float[8, 3] w", "y = MatMul (x, w)", samples=5) == 5 * 24


def test_a_size_that_is_not_known_makes_the_sum_unknown():
    assert cost("float[n, t, 8] x, float[8, 3] w", "y = MatMul (x, w)") is None


def test_products_inside_of_branches_make_the_sum_unknown():
    body = """
        y = If (c) <
            then_branch = t () => (float[2, 3] a) { a = MatMul (x, w) },
            else_branch = e () => (float[2, 3] b) { b = MatMul (x, w) }
        >
    """
    assert cost("bool c, float[2, 8] x, float[8, 3] w", body) is None
