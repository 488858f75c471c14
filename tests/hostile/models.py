"""Hostile models: each builder writes a model (and what lies beside it) into a folder and gives back its path.

The classes are those of a study of about a thousand hostile files: what crashes, hangs, exhausts or misleads onnx
and onnxruntime. Most need one line of the protobuf changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

Builder = Callable[[Path], Path]

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
hostile (float[n, 4] x) => (float[n, 3] y)
<float[4, 3] W = {1, -1, 2, 0, 1, -2, 3, 0, 1, 1, 1, 1}, float[3] b = {0, 1, -5} %s>
{
  %s
  z = Gemm (%s, W, b)
  y = Relu (z)
}
"""


def parsed(constants: str = "", before: str = "", reads: str = "x") -> ModelProto:
    """A dense layer with ReLU; `before` are nodes between the input and it, of which it reads the tensor `reads`."""
    return onnx.parser.parse_model(MODEL % (constants and f", {constants}", before, reads))


def saved(folder: Path, model: ModelProto | bytes, name: str = "model.onnx") -> Path:
    """Writes the model without looking at it."""
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def data(folder: Path, **arrays: np.ndarray) -> Path:
    """Calibration data that fits `parsed`."""
    path = folder / "data.npz"
    np.savez(path, **(arrays or {"x": np.arange(48, dtype=np.float32).reshape(12, 4) / 10}))
    return path


def built(constants: str = "", before: str = "", reads: str = "x") -> Builder:
    """A builder from text."""
    return lambda folder: saved(folder, parsed(constants, before, reads))


def edited(change: Callable[[ModelProto], object]) -> Builder:
    """A builder that changes the dense layer's protobuf."""

    def build(folder: Path) -> Path:
        model = parsed()
        change(model)
        return saved(folder, model)

    return build


# What kills, hangs or exhausts onnxruntime: nothing that a cheap look could see.

ADDED = "f = Cast <to = 1> (%s) a = Add (x, f)"
"""Puts a scalar of any type on the way to the dense layer."""

CRASHES: dict[str, Builder] = {
    "a division of constants that the processor refuses": built(
        "int32[1] least = {-2147483648}, int32[1] minus = {-1}",
        "q = Div (least, minus) " + ADDED % "q",
        "a",
    ),
    "the same for int64": built(
        "int64[1] least = {-9223372036854775808}, int64[1] minus = {-1}",
        "q = Div (least, minus) " + ADDED % "q",
        "a",
    ),
    "a division made of the data's shape": built(
        "int64[1] least = {-9223372036854775808}, int64[1] minus = {-1}, int64[1] zero = {0}",
        "s = Shape <start = 0, end = 1> (x) o = Mul (s, zero) l = Add (o, least) m = Add (o, minus) q = Div (l, m) "
        + ADDED % "q",
        "a",
    ),
}


def attention_without_heads(folder: Path) -> Path:
    """Attention of opset 23 with q_num_heads = 0: a division by zero in onnxruntime before 1.32, refused since then."""
    node = helper.make_node("Attention", ["x", "x", "x"], ["c"], q_num_heads=0, kv_num_heads=0)
    after = [helper.make_node("Gemm", ["r", "W", "b"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    flat = helper.make_node("Reshape", ["c", "to"], ["r"])
    model = parsed()
    model.opset_import[0].version = 23
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 4]), "to"))
    del model.graph.node[:]
    model.graph.node.extend([node, flat, *after])
    model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 4
    return saved(folder, model)


_LOOP = (
    "a = Loop (trips, yes, x) <body = %s (int64 i, bool c, float[n, 4] v) => (bool d, float[n, 4] w) {%s}>"
)

HANGS: dict[str, Builder] = {
    "a loop of 2^62 trips": built(
        "int64 trips = {4611686018427387904}, bool yes = {1}",
        _LOOP % ("body", "d = Identity (c) w = Neg (v)"),
        "a",
    ),
    "a loop without end": built(
        "bool yes = {1}",
        (_LOOP % ("body", "d = Identity (c) w = Neg (v)")).replace("trips", ""),
        "a",
    ),
    "loops in loops": built(
        "int64 trips = {1000000}, bool yes = {1}",
        _LOOP
        % (
            "outer",
            "d = Identity (c) w = Loop (trips, yes, v) <body = inner (int64 j, bool e, float[n, 4] t) => "
            "(bool g, float[n, 4] u) { g = Identity (e) u = Neg (t) }>",
        ),
        "a",
    ),
}

MEMORY: dict[str, Builder] = {
    "strings that double 50 times": built(
        'string[1] s0 = {"aaaaaaaa"}',
        " ".join(f"s{k + 1} = StringConcat (s{k}, s{k})" for k in range(50))
        + " q = Equal (s50, s50) "
        + ADDED % "q",
        "a",
    ),
    "a tensor that doubles 40 times": built(
        "",
        " ".join(f"s{k + 1} = Concat <axis = 0> (s{k}, s{k})" for k in range(40)).replace(
            "(s0, s0)", "(x, x)"
        )
        + " q = ReduceMax <keepdims = 0> (s40) "
        + ADDED % "q",
        "a",
    ),
    "a shape of 2^40": built(
        "int64[1] n1 = {1099511627776}",
        "f0 = ConstantOfShape (n1) q = ReduceMax <keepdims = 0> (f0) " + ADDED % "q",
        "a",
    ),
    "a range of 2^40": built(
        "int64 begin = {0}, int64 end = {1099511627776}, int64 step = {1}",
        "f0 = Range (begin, end, step) q = ReduceMax <keepdims = 0> (f0) " + ADDED % "q",
        "a",
    ),
    "a shape vector that doubles 34 times, for shape inference": built(
        "int64[2] s0 = {1, 1}",
        " ".join(f"s{k + 1} = Concat <axis = 0> (s{k}, s{k})" for k in range(34))
        + " r = Reshape (x, s34) q = ReduceMax <keepdims = 0> (r) "
        + ADDED % "q",
        "a",
    ),
    "a loop that doubles its tensor": built(
        "int64 trips = {60}, bool yes = {1}",
        "l = Loop (trips, yes, x) <body = body (int64 i, bool c, float[m, 4] v) => (bool d, float[k, 4] w)"
        " {d = Identity (c) w = Concat <axis = 0> (v, v)}> q = ReduceMax <keepdims = 0> (l) " + ADDED % "q",
        "a",
    ),
}


# What a look at the protobuf is enough for. The words must be in the refusal; None: legitimate, if odd.


def doubling_functions(levels: int) -> Callable[[ModelProto], None]:
    """Functions that call the one below twice: 2^levels nodes once expanded."""

    def change(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("f", 1))
        opsets = list(model.opset_import)
        for k in range(levels):
            inner, domain = (f"g{k - 1}", "f") if k else ("Neg", "")
            nodes = [
                helper.make_node(inner, ["a"], ["t"], domain=domain),
                helper.make_node(inner, ["t"], ["c"], domain=domain),
            ]
            model.functions.append(helper.make_function("f", f"g{k}", ["a"], ["c"], nodes, opsets))
        model.graph.node.insert(0, helper.make_node(f"g{levels - 1}", ["x"], ["h"], domain="f"))
        model.graph.node[1].input[0] = "h"

    return change


def function_chain(length: int) -> Callable[[ModelProto], None]:
    """Functions that call the one below once."""

    def change(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("f", 1))
        opsets = list(model.opset_import)
        for k in range(length):
            inner, domain = (f"g{k - 1}", "f") if k else ("Neg", "")
            node = helper.make_node(inner, ["a"], ["c"], domain=domain)
            model.functions.append(helper.make_function("f", f"g{k}", ["a"], ["c"], [node], opsets))
        model.graph.node.insert(0, helper.make_node(f"g{length - 1}", ["x"], ["h"], domain="f"))
        model.graph.node[1].input[0] = "h"

    return change


def unused_initializers(model: ModelProto) -> None:
    model.graph.initializer.extend(
        TensorProto(name=f"u{k}", data_type=1, dims=[1], float_data=[0.0]) for k in range(100_000)
    )


def fan_out(model: ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Neg", ["y"], [f"n{k}"]) for k in range(50_000))


def many_nodes(model: ModelProto) -> None:
    names = ["y", *(f"n{k}" for k in range(100_001))]
    model.graph.node.extend(helper.make_node("Relu", [a], [b]) for a, b in pairwise(names))


def nested_ifs(depth: int) -> Builder:
    """If nodes inside each other, as bytes: protobuf's own limit of nesting holds for those who build, too."""

    def build(folder: Path) -> Path:
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["o0"])], "leaf", [], [onnx.ValueInfoProto(name="o0")]
        ).SerializeToString()
        for k in range(1, depth + 1):
            branch = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH)
            node = helper.make_node("If", ["yes"], [f"o{k}"]).SerializeToString()
            node += _field(5, branch.SerializeToString() + _field(6, graph))
            outer = helper.make_graph([], f"level{k}", [], [onnx.ValueInfoProto(name=f"o{k}")])
            graph = _field(1, node) + outer.SerializeToString()
        model = parsed()
        model.graph.node[0].input[0] = f"o{depth}"
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        first = graph[: len(graph) - len(outer.SerializeToString())]
        whole = first + model.graph.SerializeToString()
        model.ClearField("graph")
        return saved(folder, model.SerializeToString() + _field(7, whole))

    return build


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format that holds bytes."""
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def dims(*sizes: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        model.graph.initializer[0].dims[:] = sizes

    return change


def empty_and_huge(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [0, 1 << 62]
    del model.graph.initializer[0].float_data[:]


def nodes_without_outputs(model: ModelProto) -> None:
    value = numpy_helper.from_array(np.ones(64, np.float32))
    model.graph.node.append(helper.make_node("Constant", [], [], value=value))
    model.graph.node.extend(
        helper.make_node(kind, ["y"], []) for kind in ("Relu", "If", "Loop", "LSTM", "Print")
    )


def input_dims(*sizes: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
            dim.dim_value = size

    return change


def two_data_fields(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data = np.ones(12, np.float32).tobytes()


def two_initializers_of_one_name(model: ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def sparse(
    indices: list[int] | list[list[int]], shape: tuple[int, ...] = (4, 3)
) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        values = numpy_helper.from_array(np.ones(2, np.float32), "W")
        places = numpy_helper.from_array(np.array(indices, np.int64), "indices")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(shape)))
        del model.graph.initializer[0]

    return change


def data_location_9(folder: Path) -> Path:
    """A value that the enumeration does not have."""
    model = parsed()
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    content = model.SerializeToString()
    assert content.count(b"\x70\x00") == 1
    return saved(folder, content.replace(b"\x70\x00", b"\x70\x09"))


def half_a_sum(model: ModelProto) -> None:
    """The optional input is empty, and Add has none."""
    model.graph.node.insert(0, helper.make_node("Add", ["W", ""], ["V"]))
    model.graph.node[1].input[1] = "V"


def external(**entries: str) -> Builder:
    """W in an external file `w.bin` of its 48 bytes, with these entries."""

    def build(folder: Path, prepare: Callable[[Path], None] = lambda folder: None) -> Path:
        (folder / "w.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
        model = parsed()
        weight = model.graph.initializer[0]
        del weight.float_data[:]
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "w.bin", **entries}.items():
            weight.external_data.add(key=key, value=value)
        return saved(folder, model)

    return build


def _twice(folder: Path) -> Path:
    path = external()(folder)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="other.bin")
    return saved(folder, model)


def beside(prepare: Callable[[Path], object]) -> Builder:
    """External data whose file is then replaced by something else."""

    def build(folder: Path) -> Path:
        path = external()(folder)
        (folder / "w.bin").unlink()
        prepare(folder / "w.bin")
        return path

    return build


def _outside(folder: Path) -> Path:
    other = folder.parent / f"{folder.name}_outside.bin"
    other.write_bytes(bytes(48))
    return other


def claims(folder: Path) -> Path:
    """3,000 tensors that each claim all of one file."""
    path = external()(folder)
    (folder / "w.bin").write_bytes(bytes(1 << 20))
    model = onnx.load(path, load_external_data=False)
    for k in range(3000):
        tensor = TensorProto(name=f"c{k}", data_type=1, dims=[1 << 18], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="w.bin")
        model.graph.initializer.append(tensor)
    return saved(folder, model)


def renamed(name: bytes) -> Builder:
    """A model whose tensor between the nodes has these bytes as its name."""

    def build(folder: Path) -> Path:
        model = parsed()
        placeholder = "?" * len(name)
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = placeholder
        return saved(folder, model.SerializeToString().replace(placeholder.encode(), name))

    return build


def sparse_file(folder: Path) -> Path:
    path = folder / "model.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    return path


def _with_denotation() -> ModelProto:
    model = parsed()
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "MEANING"
    return model


REFUSED: dict[str, tuple[Builder, str]] = {
    "functions doubled 34 times": (edited(doubling_functions(34)), "more than 100,000 nodes"),
    "functions doubled 20 times": (edited(doubling_functions(20)), "more than 100,000 nodes"),
    "100,000 unused initializers": (edited(unused_initializers), "100,002 initializers"),
    "a tensor with 50,000 readers": (edited(fan_out), "'y' is read by 50,000 nodes"),
    "100,000 nodes": (edited(many_nodes), "more than 100,000 nodes"),
    "40 nested ifs": (nested_ifs(40), "nested more than 32 deep|does not parse"),
    "a size of 2^40": (edited(dims(1 << 40, 3)), "takes 3,298,534,883,328 entries"),
    "sizes whose product overflows": (edited(dims(1 << 62, 1 << 62)), "entries of float_data"),
    "a negative size": (edited(dims(-4, 3)), "negative size"),
    "an empty tensor of 2^62 columns": (edited(empty_and_huge), "sizes that no library can multiply"),
    "two data fields": (edited(two_data_fields), "given more than once"),
    "two initializers of one name": (
        edited(two_initializers_of_one_name),
        "two initializers bear the name 'W'",
    ),
    "sparse indices out of range": (edited(sparse([0, 12])), "out of range"),
    "sparse indices below zero": (edited(sparse([-1, 3])), "out of range"),
    "sparse indices unsorted": (edited(sparse([3, 0])), "unsorted"),
    "sparse indices twice": (edited(sparse([3, 3])), "not unique"),
    "sparse indices of two axes out of range": (edited(sparse([[0, 0], [0, 3]])), "out of range"),
    "a sparse tensor of 2^60": (edited(sparse([0, 1], (1 << 30, 1 << 30))), "in its dense form"),
    "offset -1": (external(offset="-1"), "offset '-1' is no plain number"),
    "offset 2^70": (external(offset=str(1 << 70)), "is no plain number"),
    "offset abc": (external(offset="abc"), "offset 'abc'"),
    "offset in Arabic digits": (external(offset="٤"), "is no plain number"),
    "offset of 5,000 digits": (external(offset="1" * 5000), "is no plain number"),
    "offset beyond the end": (external(offset="4"), "cut short"),
    "length that is another's": (external(length="47"), "takes 48 bytes"),
    "location given twice": (_twice, "'location' twice"),
    "external data in the parent folder": (external(location="../w.bin"), "leads out of"),
    "external data by absolute path": (external(location="/etc/passwd"), "leads out of"),
    "external data with a NUL": (external(location="w.bin\0.txt"), "control characters"),
    "external data without a name": (external(location=""), "empty or holds control"),
    "external data in the folder itself": (external(location="."), "not a"),
    "external data missing": (
        beside(lambda path: None),
        "no such file.*put the file that came with the model",
    ),
    "external data short": (beside(lambda path: path.write_bytes(bytes(47))), "cut short"),
    "external data a fifo": (beside(os.mkfifo), "not a regular file"),
    "external data a link outside": (
        beside(lambda path: path.symlink_to(_outside(path.parent))),
        "link out of the model's folder",
    ),
    "external data a link to itself": (beside(lambda path: path.symlink_to(path)), "symbolic link"),
    "external data a hard link": (
        beside(lambda path: path.hardlink_to(_outside(path.parent))),
        "second hard link",
    ),
    "3,000 tensors on one file": (claims, "its tensors claim"),
    "names that are not UTF-8": (renamed(b"\xff\xfe\xfd"), "not UTF-8"),
    "a meaning that is not UTF-8": (
        lambda folder: saved(folder, _with_denotation().SerializeToString().replace(b"MEANING", b"\xff" * 7)),
        "a type or dimension has a name that is not UTF-8",
    ),
    "an empty file": (lambda folder: saved(folder, b""), "an empty file"),
    "zeros": (lambda folder: saved(folder, bytes(4096)), "does not parse"),
    "a fifo": (
        lambda folder: os.mkfifo(folder / "model.onnx") or folder / "model.onnx",
        "not a regular file",
    ),
    "3 GB of nothing": (sparse_file, "more than the 2,147,483,647"),
}


ODD: dict[str, Builder] = {
    "a chain of 2,000 functions": edited(function_chain(2000)),
    "functions doubled 10 times": edited(doubling_functions(10)),
    "15 nested ifs": nested_ifs(15),
    "inputs of size -1": edited(input_dims(-1, 4)),
    "inputs of size -5": edited(input_dims(-5, -5)),
    "inputs of size 2^40": edited(input_dims(1 << 40, 4)),
    "inputs of size 2^62": edited(input_dims(1 << 62, 1 << 62)),
    "a data location that is none": data_location_9,
    "a weight made of a sum without its second term": edited(half_a_sum),
    "nodes without outputs": edited(nodes_without_outputs),
    "a sparse weight": edited(sparse([0, 5])),
    "a name of a megabyte": renamed(b"n" * (1 << 20)),
    "a name with escapes": renamed(b"\x1b[31m\n\r\x07\xe2\x80\xae\xc2\x9b"),
    "external data": external(offset="0", length="48"),
    "external data linked inside": beside(
        lambda path: path.symlink_to(_named_inside(path.parent)),
    ),
}
"""Legitimate, if odd: the sites are found."""


def _named_inside(folder: Path) -> Path:
    (folder / "blob").write_bytes(bytes(48))
    return Path("blob")
