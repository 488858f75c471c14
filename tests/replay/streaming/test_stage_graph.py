"""A stage written down: equal structure gives equal bytes, and running the stages is running the graph."""

from __future__ import annotations

import cut_checkpoints as made
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from nla.errors import ModelError
from nla.graph.prepare import prepare
from nla.replay.streaming.cutting import cutting
from nla.replay.streaming.stage_graph import stage_graph


def stages(checkpoint):
    """Each stage of the checkpoint, with its cut as the only tap."""
    model = prepare(checkpoint).model
    cut = cutting(model.graph, checkpoint.cuts)
    return [stage_graph(model, [cut.after(k)], cut.before(k)) for k in range(cut.stages - 1)]


def test_blocks_of_equal_structure_are_equal_bytes(tmp_path):
    embed, *blocks = stages(made.opened(made.gpt2(tmp_path / "c")))
    assert len(blocks) == made.LAYERS
    assert len({block.content for block in blocks}) == 1
    assert embed.content not in {block.content for block in blocks}
    assert blocks[0].weights.keys() != blocks[1].weights.keys()


def test_a_stage_holds_no_weight_however_small(tmp_path):
    _, block, *_ = stages(made.opened(made.gpt2(tmp_path / "c")))
    assert {"h.0.ln_1.weight", "h.0.ln_1.bias", "h.0.mlp.c_fc.weight"} <= block.weights.keys()
    proto = onnx.ModelProto.FromString(block.content)
    assert all(numpy_helper.to_array(tensor).nbytes < 4096 for tensor in proto.graph.initializer)
    assert len(block.content) < 1 << 14


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casts_of_weights_are_left_to_the_caller_and_embeddings_stay_as_stored(tmp_path, dtype):
    embed, block, *_ = stages(made.opened(made.gpt2(tmp_path / "c", dtype)))
    assert block.weights
    assert all(weight.cast for weight in block.weights.values())
    assert not embed.weights["wte.weight"].cast
    kinds = [node.op_type for node in onnx.ModelProto.FromString(block.content).graph.node]
    casts = [node for node in onnx.ModelProto.FromString(embed.content).graph.node if node.op_type == "Cast"]
    assert "Gather" not in kinds
    assert any(node.input[0] != "t1" for node in casts)


def test_a_body_may_read_what_lies_outside():
    model = ir.from_proto(
        parser.parse_model(
            """
            <ir_version: 10, opset_import: ["" : 20]>
            g (float[n] x, bool q) => (float[n] y) <float[1] w = {2.0}> {
                a = Mul(x, w)
                b = If(q) <
                    then_branch = t () => (float[n] c) { c = Add(a, w) },
                    else_branch = e () => (float[n] d) { e = Neg(a) d = Mul(e, w) }
                >
                y = Relu(b)
            }
            """
        )
    )
    graph = stage_graph(model, ["y"], "a")
    session = onnxruntime.InferenceSession(graph.content, providers=["CPUExecutionProvider"])
    a = np.array([1.0, -3.0], np.float32)
    for q, expected in ((True, [3.0, 0.0]), (False, [0.0, 6.0])):
        fed = {graph.names["a"]: a, graph.names["q"]: np.array(q)}
        assert session.run([graph.names["y"]], fed)[0].tolist() == expected
    assert set(graph.inputs) == {"a", "q"}


def test_a_tap_may_be_what_the_stage_is_given(tmp_path):
    model = prepare(made.network(made.layers(tmp_path / "c"))).model
    graph = stage_graph(model, ["act.1", "act.0"], "act.0")
    assert {"act.0", "act.1"} <= graph.names.keys()


def test_a_tensor_that_is_not_there_is_told(tmp_path):
    model = prepare(made.network(made.layers(tmp_path / "c"))).model
    with pytest.raises(ModelError, match="'nowhere' is not in the graph"):
        stage_graph(model, ["nowhere"], None)
