"""The bounded evaluator agrees with onnx's reference implementation, and knows what it does not know."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from nla.graph.evaluate import known_values

A = "a = Constant <value = int64[2, 3] {3, -7, 2, 5, 0, 4}> ()"
B = "b = Constant <value = int64[3] {2, 3, -4}> ()"


def model_of(body, opset=17):
    text = f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    g (float[batch, 3, 8] x) => (int64[k] y) {{ {body} }}
    """
    return onnx.parser.parse_model(text)


def known(body, opset=17):
    model = ir.from_proto(model_of(body, opset))
    values = known_values(model.graph)
    return values.get(model.graph.outputs[0])


@pytest.mark.parametrize(
    "operator",
    [
        "y = Identity (a)",
        "y = Cast <to = 1> (a)",
        "y = Cast <to = 9> (a)",
        "i = Constant <value = int64[2] {1, -1}> () y = Gather <axis = 1> (a, i)",
        "i = Constant <value = int64 {1}> () y = Gather <axis = 0> (a, i)",
        "i = Constant <value = int64[1] {0}> () y = Unsqueeze (a, i)",
        "i = Constant <value = int64[2] {0, -1}> () y = Unsqueeze (a, i)",
        "i = Constant <value = int64[1] {0}> () u = Unsqueeze (a, i) y = Squeeze (u, i)",
        "i = Constant <value = int64[1] {0}> () u = Unsqueeze (a, i) y = Squeeze (u)",
        "y = Concat <axis = 0> (b, b)",
        "y = Concat <axis = -1> (a, a)",
        "s = Constant <value = int64[1] {1}> () e = Constant <value = int64[1] {9223372036854775807}> () "
        "y = Slice (a, s, e, s)",
        "s = Constant <value = int64[1] {-1}> () e = Constant <value = int64[1] {-9223372036854775807}> () "
        "y = Slice (b, s, e, t, s) ",
        "i = Constant <value = int64[2] {3, -1}> () y = Reshape (a, i)",
        "i = Constant <value = int64[2] {0, -1}> () y = Reshape (a, i)",
        "y = Transpose (a)",
        "y = Transpose <perm = [1, 0]> (a)",
        "y = Shape (a)",
        "y = Shape <start = 1> (a)",
        "y = Size (a)",
        "y = Equal (a, b)",
        "y = Less (a, b)",
        "y = GreaterOrEqual (a, b)",
        "c = Equal (a, b) y = Not (c)",
        "c = Equal (a, b) d = Less (a, b) y = Or (c, d)",
        "c = Equal (a, b) d = Less (a, b) y = Where (c, a, b)",
        "y = Add (a, b)",
        "y = Sub (a, b)",
        "y = Mul (a, b)",
        "y = Max (a, b)",
        "y = Min (a, b)",
        "y = Neg (a)",
        "y = Abs (a)",
        "y = ReduceProd (a)",
        "y = ReduceProd <axes = [0], keepdims = 0> (a)",
        "y = ReduceMax <axes = [1]> (a)",
        "i = Constant <value = int64[1] {0}> () y = ReduceSum <keepdims = 0> (a, i)",
        "i = Constant <value = int64[2] {2, 3}> () y = ConstantOfShape <value = int64[1] {7}> (i)",
        "f = Constant <value = float[2] {1.5, -1.5}> () y = Floor (f)",
    ],
)
def test_operators_agree_with_the_reference(operator):
    body = f"{A} {B} t = Constant <value = int64[1] {{0}}> () {operator}"
    expected = ReferenceEvaluator(model_of(body)).run(None, {"x": np.zeros((1, 3, 8), np.float32)})[0]
    found = known(body)
    assert found is not None
    assert found.complete
    assert not found.from_shape
    np.testing.assert_array_equal(found.data, expected)
    assert found.data.dtype == expected.dtype


def test_integer_division_truncates_as_onnxruntime_does():
    body = (
        "a = Constant <value = int64[4] {7, -7, 7, -7}> () b = Constant <value = int64[4] {2, 2, -2, -2}> () "
        "y = Div (a, b)"
    )
    assert known(body).data.tolist() == [3, -3, -3, 3]


@pytest.mark.parametrize(("fmod", "expected"), [(0, [1, -2, 2, -1]), (1, [1, 1, -1, -1])])
def test_the_remainder_has_the_sign_of_the_divisor_unless_asked_otherwise(fmod, expected):
    body = (
        "a = Constant <value = int64[4] {7, 7, -7, -7}> () b = Constant <value = int64[4] {3, -3, 3, -3}> () "
        f"y = Mod <fmod = {fmod}> (a, b)"
    )
    assert known(body).data.tolist() == expected


@pytest.mark.parametrize(
    "body",
    [
        "a = Constant <value = int64[1] {1}> () b = Constant <value = int64[1] {0}> () y = Mod (a, b)",
        "a = Constant <value = int64[1] {1}> () b = Constant <value = int64[1] {0}> () y = Div (a, b)",
        "a = Constant <value = int64[1] {-9223372036854775808}> () "
        "b = Constant <value = int64[1] {-1}> () y = Div (a, b)",
        "a = Constant <value = int64[1] {4611686018427387904}> () y = Mul (a, a)",
        "a = Constant <value = int64[3] {2147483647, 2147483647, 2147483647}> () y = ReduceProd (a)",
        "a = Constant <value = int64[2] {1000000, 1000000}> () y = ConstantOfShape (a)",
        "a = Constant <value = int64 {0}> () b = Constant <value = int64 {100000000}> () "
        "c = Constant <value = int64 {1}> () y = Range (a, b, c)",
        "a = Constant <value = int64 {0}> () y = Range (a, a, a)",
        "a = Constant <value = float[1] {nan}> () y = Cast <to = 7> (a)",
        "a = Constant <value = int64[2] {1, 2}> () b = Constant <value = int64 {9}> () y = Gather (a, b)",
        "a = Constant <value = int64[2] {1, 2}> () b = Concat <axis = 0> (a, a, a) y = Mul (a, b)",
        "y = Shape (ghost)",
        "y = Relu (x)",
    ],
)
def test_what_is_undefined_large_or_malformed_is_not_known(body):
    assert known(body) is None


def test_growth_is_capped():
    doubled = " ".join(f"a{k + 1} = Concat <axis = 0> (a{k}, a{k})" for k in range(40))
    assert known(f"a0 = Constant <value = int64[2] {{1, 2}}> () {doubled} y = Identity (a40)") is None


def test_a_shape_is_known_in_part_and_marked_as_such():
    found = known("y = Shape (x)")
    assert found.mask.tolist() == [False, True, True]
    assert found.data[1:].tolist() == [3, 8]
    assert found.from_shape
    last = known("s = Shape (x) i = Constant <value = int64[1] {-1}> () y = Gather (s, i)")
    assert last.complete
    assert last.data.tolist() == [8]
    first = known("s = Shape (x) i = Constant <value = int64[1] {0}> () y = Gather (s, i)")
    assert not first.complete


def test_arithmetic_with_an_unknown_is_unknown_there():
    body = "s = Shape (x) one = Constant <value = int64[1] {1}> () y = Add (s, one)"
    assert known(body).mask.tolist() == [False, True, True]


def test_the_rank_is_known_where_the_sizes_are_not():
    found = known("s = Shape (x) y = Size (s)")
    assert found.complete
    assert found.data == 3


def test_older_opsets_give_axes_as_attributes():
    body = "a = Constant <value = int64[1, 2] {1, 2}> () s = Squeeze <axes = [0]> (a) "
    assert known(body + "y = Slice <starts = [1], ends = [9]> (s)", opset=9).data.tolist() == [2]
