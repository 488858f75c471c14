"""The graph under construction: constants, names, weights, and what is said at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from nla.architectures.builder import FLOAT, Graph
from nla.checkpoint.safetensors_file import Stored
from nla.errors import ModelError


def graph(**tensors: tuple[str, tuple[int, ...]]) -> Graph:
    """A graph over tensors of these types and shapes, in a file that is not there."""
    stored = {
        name.replace("__", "."): Stored(Path("weights.safetensors"), dtype, shape, 8 * at, 8)
        for at, (name, (dtype, shape)) in enumerate(tensors.items())
    }
    return Graph(SimpleNamespace(tensors=stored))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_an_operator_is_a_method_and_a_value_is_its_name():
    g = graph()
    x = g.input("x", FLOAT, ["batch", 3])
    y = g.Relu(g.Add(x, 1.5), name="hidden")
    g.output(y, "y", ["batch", 3])
    model = g.finish("toy")
    assert y == "hidden"
    assert kinds(model) == ["Add", "Relu", "Identity"]
    assert (model.ir_version, model.opset_import[0].version) == (10, 20)
    onnx.checker.check_model(model, full_check=True)


def test_several_outputs_are_a_tuple_and_an_operand_may_be_left_out():
    g = graph()
    x = g.input("x", FLOAT, [4])
    first, second = g.Split(x, [1, 3], axis=0, outputs=2)
    g.output(g.Clip(second, None, 2.0), "y", [3])
    g.output(first, "z", [1])
    onnx.checker.check_model(g.finish("toy"), full_check=True)


def test_a_constant_is_stored_once_and_types_are_kept_apart():
    g = graph()
    names = [
        g.constant(np.asarray(value, kind)) for value, kind in ((1, "f4"), (1, "i8"), (1, "f4"), ([1], "f4"))
    ]
    assert len(set(names)) == 3
    shapes = [tuple(tensor.dims) for tensor in g.finish("toy").graph.initializer]
    assert shapes == [(), (), (1,)]


def test_names_stay_apart_from_one_another_and_from_tensors():
    g = graph(act=("F32", (2,)))
    x = g.input("x", FLOAT, [2])
    assert [g.Relu(x, name="act"), g.Relu(x, name="y"), g.Relu(x, name="y")] == ["act_1", "y", "y_1"]


def test_an_output_that_bears_the_name_of_a_tensor_is_refused():
    g = graph(logits=("F32", (2,)))
    with pytest.raises(ModelError, match="'logits' of the checkpoint bears the name of an output"):
        g.output(g.input("x", FLOAT, [2]), "logits", [2])


def test_weights_are_external_data_under_their_own_names():
    g = graph(a__weight=("F32", (2, 1)))
    g.linear(g.input("x", FLOAT, ["batch", 1]), "a", 1, 2, bias=False)
    (tensor,) = g.finish("toy").graph.initializer
    assert tensor.name == "a.weight"
    assert not tensor.raw_data
    assert {entry.key: entry.value for entry in tensor.external_data} == {
        "location": "weights.safetensors",
        "offset": "0",
        "length": "8",
    }


def test_a_half_precision_weight_is_cast_once_and_a_table_of_rows_after_the_look_up():
    g = graph(a__weight=("BF16", (2, 2)), table=("F16", (2, 2)))
    x = g.rows("table", g.input("ids", onnx.TensorProto.INT64, ["n"]), 2, 2)
    for _ in range(2):
        x = g.linear(x, "a", 2, 2, bias=False)
    assert kinds(g.finish("toy")) == ["Gather", "Cast", "Cast", "Transpose", "MatMul", "MatMul"]


def test_everything_that_is_wrong_is_said_at_once():
    g = graph(
        a__weight=("F32", (2, 1)), b__weight=("U8", (8,)), c=("F32", (2,)), d__position_ids=("I64", (1,))
    )
    x = g.input("x", FLOAT, ["batch", 3])
    g.linear(x, "a", 3, 2)
    g.weight("b.weight", 8)
    with pytest.raises(ModelError) as raised:
        g.finish("toy", lambda name: name.endswith("position_ids"))
    said = str(raised.value)
    assert "lacks tensor 'a.bias'" in said
    assert "'a.weight' is [2, 1] where [2, 3] was expected" in said
    assert "'b.weight' is of type U8" in said
    assert "tensor 'c' is used by nothing" in said
    assert "position_ids" not in said
