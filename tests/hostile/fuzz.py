"""Runs in a child of the tests: hypothesis spoils honest files, and only results and clear errors may come of it.

Usage: python fuzz.py PROPERTY FOLDER. Every example runs in a fork of this process: a library may crash there, which
the supervised child of nla turns into its clear line; a traceback of nla's own, or a minute without an end, may not be.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from hostile.batch import TASKS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from nla.errors import NlaError

_SECONDS = 60
MANIFESTS, SPOILT_MODELS = (int(os.environ.get("NLA_FUZZ", "0")) or usual for usual in (50, 100))
"""Examples of the slower properties; more of them with the variable."""
SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"


def bounded(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, the same ones every time, without a clock."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def attempt(task: str, path: Path) -> None:
    """Runs the task in a fork. Fails on anything but a result, an error of one line, or a library's crash."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(_SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(write, _outcome(task, path).encode()[:60_000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM), f"more than {_SECONDS} s"
    assert not said, said


def _outcome(task: str, path: Path) -> str:
    try:
        TASKS[task](path)
    except NlaError as error:
        return "" if str(error) and "\n" not in str(error) else f"not one line: {error!r}"
    except BaseException:
        return traceback.format_exc()
    return ""


def flips(size: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Up to four places in a file, most of them near its start or end, and what is written there."""
    ends = st.integers(0, min(size, 2000) - 1)
    places = st.one_of(ends, ends.map(lambda place: size - 1 - place), st.integers(0, size - 1))
    return st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)


def spoilt(content: bytes, where: list[tuple[int, int]]) -> bytes:
    """The content with these bytes in these places."""
    changed = bytearray(content)
    for place, value in where:
        changed[place] = value
    return bytes(changed)


def bytes_of(folder: Path, name: str, task: str, examples: int) -> None:
    """Flips bytes of one file of the folder."""
    content = (folder / name).read_bytes()

    @bounded(examples)
    @given(flips(len(content)))
    def check(where: list[tuple[int, int]]) -> None:
        path = folder / f"spoilt_{name}"
        path.write_bytes(spoilt(content, where))
        attempt(task, path)

    check()


def model_bytes(folder: Path) -> None:
    """The smallest sample model: most of its bytes are structure."""
    (folder / "small.onnx").write_bytes((SAMPLES / "external_data" / "model.onnx").read_bytes())
    (folder / "weights.bin").write_bytes((SAMPLES / "external_data" / "weights.bin").read_bytes())
    bytes_of(folder, "small.onnx", "survey", 200)


def model_cuts(folder: Path) -> None:
    """The same model cut short after every sixth byte."""
    content = (SAMPLES / "external_data" / "model.onnx").read_bytes()
    for size in range(0, len(content), 6):
        path = folder / "cut.onnx"
        path.write_bytes(content[:size])
        attempt("survey", path)


def model_graphs(folder: Path) -> None:
    """Well-formed protobufs of ill-formed graphs: other attributes, inputs, operators, types, sizes, opsets."""
    kinds = ("cnn_residual", "gated_block", "lstm", "fp16", "shared_initializers")
    contents = [(SAMPLES / kind / "model.onnx").read_bytes() for kind in kinds]

    @bounded(100)
    @given(st.sampled_from(contents), st.integers(0, 2**32), st.integers(1, 3))
    def check(content: bytes, seed: int, count: int) -> None:
        model, chance = ModelProto.FromString(content), random.Random(seed)
        for _ in range(count):
            chance.choice(CHANGES)(model, chance)
        path = folder / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        attempt("survey", path)

    check()


def model_runs(folder: Path) -> None:
    """The same, but replayed: onnxruntime refuses most of them, and some of the rest surprise the replay."""
    kinds = ("cnn_residual", "gated_block", "lstm")
    pairs = [(SAMPLES / kind / "model.onnx", SAMPLES / kind / "data.npz") for kind in kinds]

    @bounded(30)
    @given(st.sampled_from(pairs), st.integers(0, 2**32))
    def check(pair: tuple[Path, Path], seed: int) -> None:
        model, chance = ModelProto.FromString(pair[0].read_bytes()), random.Random(seed)
        chance.choice(CHANGES)(model, chance)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        (folder / "data.npz").write_bytes(pair[1].read_bytes())
        attempt("replay", folder / "data.npz")

    check()


def data_bytes(folder: Path) -> None:
    """Calibration data in every binary format, of the model that lies in the folder."""
    for name in ("data.npz", "packed.npz", "data.npy", "data.h5", "data.safetensors"):
        bytes_of(folder, name, "replay", 20)


def recording_bytes(folder: Path) -> None:
    """A real recording."""
    bytes_of(folder, "run.h5", "recording", 40)


# What may happen to a graph.

_NUMBERS = [0, -1, 1, 2, -2, 3, 2**31, 2**40, 2**62, -(2**63), 2**63 - 1]
_FLOATS = [0.0, -1.0, float("nan"), float("inf"), 1e38, 6.0]
_OPERATORS = """
    Relu Gemm MatMul Conv Add Mul Reshape Transpose Concat Split LSTM GRU RNN Gather Slice Unsqueeze Squeeze Flatten
    Clip LeakyRelu PRelu Softmax BatchNormalization LayerNormalization If Loop Scan Identity Constant ConstantOfShape
    Shape Expand Range Tile Where Cast QuantizeLinear DequantizeLinear ConvTranspose Pad ReduceMean Einsum Attention
    Pow Erf Sigmoid Gelu Swish Div Mod GlobalAveragePool MaxPool QLinearConv SequenceConstruct NonZero Max Size Equal
""".split()  # noqa: SIM905
_ATTRIBUTES = """
    axis axes perm group kernel_shape pads strides dilations transA transB alpha auto_pad hidden_size direction
    activations min max value to shape num_heads epsilon keepdims then_branch body layout approximate value_int
    value_ints sparse_value start end split num_outputs linear_before_reset clip output_shape
""".split()  # noqa: SIM905


def _attribute(name: str, chance: random.Random) -> AttributeProto:
    made = AttributeProto(name=name)
    kind = chance.randrange(8)
    if kind == 0:
        made.type, made.i = AttributeProto.INT, chance.choice(_NUMBERS)
    elif kind == 1:
        made.type, made.f = AttributeProto.FLOAT, chance.choice(_FLOATS)
    elif kind == 2:
        made.type, made.s = AttributeProto.STRING, chance.choice([b"", b"\xff\xfe", b"SAME_UPPER", b"tanh"])
    elif kind == 3:
        made.type = AttributeProto.INTS
        made.ints.extend(chance.choice(_NUMBERS) for _ in range(chance.randrange(6)))
    elif kind == 4:
        made.type = AttributeProto.FLOATS
        made.floats.extend(chance.choice(_FLOATS) for _ in range(chance.randrange(4)))
    elif kind == 5:
        made.type = AttributeProto.TENSOR
        made.t.CopyFrom(helper.make_tensor("t", TensorProto.INT64, [1], [chance.choice(_NUMBERS)]))
    elif kind == 6:
        made.type = AttributeProto.GRAPH
        made.g.name = "g"
    else:
        made.type = AttributeProto.STRINGS
        made.strings.extend([b"x", b"\xff"])
    return made


def _node(model: ModelProto, chance: random.Random) -> onnx.NodeProto:
    return chance.choice(model.graph.node) if model.graph.node else onnx.NodeProto()


def _names(model: ModelProto) -> list[str]:
    nodes = model.graph.node
    return sorted({name for node in nodes for name in (*node.input, *node.output)} | {""})


def _other_attribute(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.attribute:
        old = chance.choice(node.attribute)
        old.CopyFrom(_attribute(old.name, chance))


def _new_attribute(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).attribute.append(_attribute(chance.choice(_ATTRIBUTES), chance))


def _other_input(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(_names(model))


def _fewer_inputs(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    del node.input[chance.randrange(len(node.input) + 1) :]


def _more_inputs(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).input.extend([chance.choice(_names(model))] * chance.randrange(1, 4))


def _fewer_outputs(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    del node.output[chance.randrange(len(node.output) + 1) :]


def _more_outputs(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).output.append(f"extra{chance.random()}")


def _other_operator(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).op_type = chance.choice(_OPERATORS)


def _other_domain(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).domain = chance.choice(["com.microsoft", "ai.onnx", "ai.onnx.ml", "x"])


def _other_dims(model: ModelProto, chance: random.Random) -> None:
    if model.graph.initializer:
        tensor = chance.choice(model.graph.initializer)
        dims = list(tensor.dims)
        tensor.dims[:] = chance.choice(
            [[], [0], [1], [1 << 40], [0, 1 << 62], dims[::-1], [1, *dims], [*dims, 1]]
        )


def _other_weights(model: ModelProto, chance: random.Random) -> None:
    if model.graph.initializer:
        tensor = chance.choice(model.graph.initializer)
        array = numpy_helper.to_array(tensor)
        kind = chance.choice(["int64", "float16", "float64", "int8", "bool", "flat", "empty"])
        with np.errstate(all="ignore"):
            shaped = array.reshape(-1)[: 0 if kind == "empty" else None]
            made = shaped if kind in ("flat", "empty") else array.astype(kind)
        tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def _other_type(model: ModelProto, chance: random.Random) -> None:
    graph = model.graph
    kind = chance.choice([*graph.input, *graph.output, *graph.value_info]).type
    tensor = kind.tensor_type
    what = chance.randrange(4)
    if what == 0:
        tensor.elem_type = chance.choice([0, 7, 8, 16, 23, 99, -1])
    elif what == 1:
        tensor.ClearField("shape")
    elif what == 2 and tensor.shape.dim:
        chance.choice(tensor.shape.dim).dim_value = chance.choice(_NUMBERS)
    else:
        kind.sequence_type.elem_type.tensor_type.elem_type = 1


def _other_opset(model: ModelProto, chance: random.Random) -> None:
    model.opset_import[0].version = chance.choice([0, 1, 6, 7, 9, 11, 13, 17, 24, 99, -1, 2**62])


def _no_node(model: ModelProto, chance: random.Random) -> None:
    if model.graph.node:
        model.graph.node.remove(_node(model, chance))


# Manifests and undo files: the folder holds an honest set, see edits.py.


def manifest_bytes(folder: Path) -> None:
    """Flipped bytes: most are no JSON any more, some another number or name."""
    bytes_of(folder, "manifest.json", "apply", 80)


def manifest_values(folder: Path) -> None:
    """Well-formed JSON with other values in it, for apply and for masks."""
    honest = json.loads((folder / "manifest.json").read_text())
    path = folder / "spoilt_manifest.json"

    @bounded(MANIFESTS)
    @given(st.sampled_from(_HONEST_ACTIONS), st.integers(0, 2**32), st.integers(1, 3))
    def check(action: dict[str, Any], seed: int, count: int) -> None:
        chance, plain = random.Random(seed), deepcopy(honest)
        plain["checkpoint"]["constants"], plain["data"]["shapes"] = {}, {"x": [None, 4]}
        if action:
            plain["actions"] = [{"site": "h", **deepcopy(action)}]
        for _ in range(count):
            _other_value(plain, chance)
        path.write_text(json.dumps(plain))
        attempt("apply", path)
        attempt("masks", path)

    check()


def recording_values(folder: Path) -> None:
    """A recording whose document has other values in it, planned by every policy."""
    content = (folder / "run.h5").read_bytes()
    path = folder / "spoilt.h5"

    @bounded(MANIFESTS)
    @given(st.integers(0, 2**32), st.integers(1, 3))
    def check(seed: int, count: int) -> None:
        chance = random.Random(seed)
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            plain = json.loads(file["document"][()].tobytes())
            for _ in range(count):
                _other_value(plain, chance)
            del file["document"], file.attrs["crc32"]
            file["document"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
        attempt("plan", path)

    check()


def spoilt_edits(folder: Path) -> None:
    """An honest model verified against one that is ill-formed."""
    honest = (folder / "model.onnx").read_bytes()

    @bounded(MANIFESTS // 2)  # what runs is timed too, for a second or two
    @given(st.integers(0, 2**32), st.integers(1, 2))
    def check(seed: int, count: int) -> None:
        model, chance = ModelProto.FromString(honest), random.Random(seed)
        for _ in range(count):
            with suppress(IndexError, TypeError, ValueError):
                chance.choice(CHANGES)(model, chance)
        path = folder / "spoilt.onnx"
        path.write_bytes(model.SerializeToString())
        attempt("verify", path)

    check()


def undo_bytes(folder: Path) -> None:
    """Flipped bytes: nothing but what was written may be brought back."""
    content = (folder / "undo.safetensors").read_bytes()

    @bounded(80)
    @given(flips(len(content)))
    def check(where: list[tuple[int, int]]) -> None:
        path = folder / "spoilt.safetensors"
        path.write_bytes(spoilt(content, where))
        (folder / "made.onnx").unlink(missing_ok=True)
        attempt("undo", path)
        made = folder / "made.onnx"
        assert not made.exists() or made.read_bytes() == (folder / "model.onnx").read_bytes()

    check()


def spoilt_models(folder: Path) -> None:
    """Surgery on ill-formed graphs, whatever their digest, with a manifest for the graphs as they were."""
    kinds = ("cnn_residual", "gated_block", "lstm", "fp16", "shared_initializers", "qdq_int8")
    contents = {"": (folder / "model.onnx").read_bytes()}
    contents |= {kind: (SAMPLES / kind / "model.onnx").read_bytes() for kind in kinds}
    for kind in kinds:
        (folder / kind).mkdir()
        (folder / kind / "manifest.json").write_text(json.dumps(_cuts(SAMPLES / kind / "model.onnx")))

    @bounded(SPOILT_MODELS)
    @given(st.sampled_from(["", *kinds]), st.integers(0, 2**32), st.integers(1, 3))
    def check(kind: str, seed: int, count: int) -> None:
        model, chance = ModelProto.FromString(contents[kind]), random.Random(seed)
        for _ in range(count):
            with suppress(IndexError, TypeError, ValueError):
                chance.choice(CHANGES)(model, chance)
        path = folder / kind / "spoilt.onnx"
        path.write_bytes(model.SerializeToString())
        attempt("spoilt_apply", path)

    check()


def _cuts(model: Path) -> dict[str, Any]:
    """A manifest that does something else at every site."""
    from nla import api

    actions = []
    for at, site in enumerate(api.sites(model, in_process=True).sites):
        one = (
            _HONEST_ACTIONS[1:-2][at % 6] if at % 2 else {"kind": "remove", "units": [0, 2], "parameters": {}}
        )
        units = [unit for unit in one["units"] if unit < site.neurons]
        if len(units) == len(one["units"]):
            actions.append({"site": site.name, **one, "units": units})
    return {"schema": "nla/manifest/1", "checkpoint": {"digest": "0" * 64}, "actions": actions}


_HONEST_ACTIONS: list[dict[str, Any]] = [
    {},
    {"kind": "fold", "units": [2, 3], "parameters": {"values": {"2": 0.0, "3": 0.5}}},
    {"kind": "merge", "units": [3], "parameters": {"into": 2, "scales": 1.0}},
    {"kind": "strip", "units": [0, 2], "parameters": {"fraction": 0.5}},
    {"kind": "strip-contribution", "units": [0], "parameters": {"fraction": 0.5, "input_mean": [1, 2, 3, 4]}},
    {"kind": "reset", "units": [2], "parameters": {"scheme": "he", "seed": 1, "means": 0.5}},
    {"kind": "shift", "units": [2], "parameters": {"delta": 1.0, "zero_outgoing": True, "target_rate": 0.1}},
    {"kind": "flip", "units": [0, 1, 2, 3], "parameters": {}},
    {"kind": "swap", "units": [0, 1, 2, 3], "parameters": {"to": "Elu", "alpha": 0.5}},
]
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 4, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e39, 1e308, 5e-324, 10**400),
    *("", "h", "x", "y", "W", "remove", "merge", "swap", "\x1b[31m", "\ud800", "n" * 5000),
    *([], {}, [0], [2, 3], [[2]], {"2": 1}, {"": []}),
]


def _other_value(plain: dict[str, Any], chance: random.Random) -> None:
    """Somewhere in the document another value, another name, one less, or one twice."""
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [plain]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        places += [(holder, key) for key in keys if holder is not plain or key != "criteria"]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    holder, key = chance.choice(places)
    what = chance.randrange(5)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[str(chance.choice(_VALUES))[:5000]] = holder.pop(key)
    elif what == 2 and isinstance(holder, list):
        holder.append(deepcopy(holder[key]))
    else:
        holder[key] = deepcopy(chance.choice(_VALUES))


CHANGES = [
    _other_attribute,
    _new_attribute,
    _other_input,
    _fewer_inputs,
    _more_inputs,
    _fewer_outputs,
    _more_outputs,
    _other_operator,
    _other_domain,
    _other_dims,
    _other_weights,
    _other_type,
    _other_opset,
    _no_node,
]
PROPERTIES = {
    made.__name__: made
    for made in (
        *(model_bytes, model_cuts, model_graphs, model_runs, data_bytes, recording_bytes),
        *(manifest_bytes, manifest_values, recording_values, undo_bytes, spoilt_models, spoilt_edits),
    )
}

if __name__ == "__main__":
    tempfile.tempdir = sys.argv[2]
    if sys.argv[1] not in ("model_bytes", "model_cuts", "model_graphs"):  # each fork would import them again
        import onnx.reference
        import onnxruntime  # noqa: F401

        import nla.api
        import nla.replay.comparing
        import nla.replay.tasks
        import nla.surgery.tasks  # noqa: F401
    gc.collect()
    gc.freeze()  # each fork would look through all of it, and so copy it
    PROPERTIES[sys.argv[1]](Path(sys.argv[2]))
