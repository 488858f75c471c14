"""Faults of the machine and hostile models under the verbs that edit and verify: nothing is left, nothing is lost."""

from __future__ import annotations

import json
import re
import signal
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import edits, models
from hostile.test_faults import has_child, largest_file, mounting, replays, signalled
from onnx import TensorProto, helper, numpy_helper

import nla
from nla.checkpoint.onnx_file import open_onnx
from nla.checkpoint.wire import Piece
from nla.checkpoint.writing import Layout, _check
from nla.errors import OutputError


def SLOW(value):  # noqa: N802
    """A case that is left out of quick runs."""
    return pytest.param(value, marks=pytest.mark.slow)


APPLY = ("-o", "out.onnx", "--record-undo", "undo")


def save(path, model):
    path.write_bytes(model.SerializeToString())
    return path


# Outputs


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/nowhere", "cannot write /proc/nowhere: "),
        ("/nowhere/out", "the folder /nowhere does not exist"),
        ("folder", "it is a folder"),
        ("x" * 300, "name is too long"),
        ("/dev/full", "a device or a pipe"),
    ],
)
@pytest.mark.parametrize("verb", ["apply", "undo", "prune"])
def test_an_output_that_cannot_be_written_is_refused(machine, files, verb, path, words):
    (machine.here / "folder").mkdir()
    given = {
        "apply": (files.manifest, files.model),
        "undo": (files.undo, files.edited),
        "prune": (files.model, "--data", files.data),
    }[verb]
    machine.run(verb, *given, "-o", path).refused(words)


@pytest.mark.parametrize("option", ["-o", "--record-undo", "--json"])
@pytest.mark.parametrize("which", ["model", "manifest"])
def test_apply_writes_over_nothing_that_it_reads(machine, files, option, which):
    before = files.contents()
    options = {"-o": "out.onnx", option: getattr(files, which)}
    ended = machine.run(
        "apply", files.manifest, files.model, *(part for pair in options.items() for part in pair)
    )
    ended.refused("it is the file that was read")
    assert files.contents() == before


@pytest.fixture
def apart(tmp_path):
    """A model whose weights lie in `out.onnx.data`, which is where the external data of `-o out.onnx` would go."""
    return edits.prepared(tmp_path, edits.external(tmp_path, "out.onnx.data"))


@pytest.mark.parametrize(
    "given",
    [
        ("apply", "manifest.json", "model.onnx", "-o", "out.onnx", "--record-undo", "u"),
        ("apply", "manifest.json", "model.onnx", "-o", "o.onnx", "--record-undo", "out.onnx.data"),
        ("apply", "manifest.json", "model.onnx", "-o", "o.onnx", "--json", "out.onnx.data"),
        ("verify", "model.onnx", "edited.onnx", "--data", "data.npz", "--json", "./out.onnx.data"),
        ("prune", "model.onnx", "--data", "data.npz", "-o", "out.onnx"),
        ("prune", "model.onnx", "--data", "data.npz", "-o", "o.onnx", "--manifest", "out.onnx.data"),
        SLOW(("swap", "model.onnx", "--data", "data.npz", "--to", "gelu", "-o", "out.onnx")),
        ("inspect", "model.onnx", "--data", "data.npz", "-o", "out.onnx.data"),
    ],
    ids=" ".join,
)
def test_external_data_is_never_written_over(machine, apart, given):
    places = [apart.folder / part if (apart.folder / part).exists() or part in ("out.onnx", "o.onnx", "u") else part
              for part in given]  # fmt: skip
    before = {path.name: path.read_bytes() for path in apart.folder.iterdir() if path.is_file()}
    machine.run(*places).refused(r"out\.onnx\.data: it is")
    assert {path.name: path.read_bytes() for path in apart.folder.iterdir() if path.is_file()} == before


def test_two_outputs_of_one_name_are_refused(machine, apart):
    for option in ("--record-undo", "--json"):
        ended = machine.run("apply", apart.manifest, apart.model, "-o", "o.onnx", option, "o.onnx.data")
        ended.refused("two outputs|external data of o.onnx")


# Disks


@pytest.fixture
def large(tmp_path):
    """A model of 340 KB, all of whose units of `h` are masked, so that what is written is as large."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 4] x) => (float[n, 200] y)'
        "{ z = Gemm (x, W, b) h = Relu (z) y = Gemm (h, V, c) }"
    )
    for name, shape in {"W": (4, 400), "b": (400,), "V": (400, 200), "c": (200,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.full(shape, -1, np.float32), name))
    path = save(tmp_path / "model.onnx", model)
    manifest = {
        "schema": "nla/manifest/1",
        "checkpoint": {"digest": sha256(path.read_bytes()).hexdigest()},
        "actions": [{"kind": "mask", "site": "h", "units": list(range(399))}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    np.savez(tmp_path / "data.npz", x=np.ones((20, 4), np.float32))
    files = edits.Files(tmp_path)
    nla.apply(files.manifest, path, files.edited, record_undo=files.undo, in_process=True)
    return files


@pytest.mark.parametrize("verb", ["apply", "undo", "prune"])
def test_a_disk_that_fills_half_way_leaves_nothing(machine, large, verb):
    given = {
        "apply": (large.manifest, large.model, *APPLY),
        "undo": (large.undo, large.edited, "-o", "out.onnx"),
        "prune": (
            large.model,
            "--data",
            large.data,
            "-o",
            "out.onnx",
            "--manifest",
            "m.json",
            "--max-rate-bound",
            "1e-9",
        ),
    }[verb]
    before = large.contents()
    machine.run(verb, *given, **largest_file(200_000)).refused(
        "out.onnx: the file would be larger than is allowed"
    )
    assert large.contents() == before
    place = machine.here / "place"
    place.mkdir()
    given = tuple(f"place/{part}" if part in ("out.onnx", "undo", "m.json") else part for part in given)
    machine.run(verb, *given, wrap=mounting("size=400k", place)).refused(
        "the disk is full"
    ) if verb == "apply" else None
    machine.run(verb, *given, wrap=mounting("size=200k", place)).refused("the disk is full")
    assert large.contents() == before


def test_older_outputs_stay_when_the_new_ones_cannot_be_written(machine, large):
    for name in ("out.onnx", "undo"):
        (machine.here / name).write_text("old")
    machine.run("apply", large.manifest, large.model, *APPLY, **largest_file(200_000)).refused("larger")
    assert sorted((path.name, path.read_text()) for path in machine.here.iterdir()) == [
        ("out.onnx", "old"),
        ("undo", "old"),
    ]


# Signals, crashes, limits


@pytest.fixture
def endless(files):
    """A model that runs for ever, and a manifest for it."""
    trips = "int64 trips = {4611686018427387904}, bool yes = {1}"
    loop = models._LOOP % ("body", "d = Identity (c) w = Neg (v)")
    save(files.folder / "endless.onnx", edits.parsed(trips, loop, "a"))
    return files.folder / "endless.onnx"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["prune", "verify", SLOW("repair"), SLOW("swap")])
def test_a_signal_is_one_line_and_leaves_nothing(machine, files, endless, verb, number, code):
    given = {
        "prune": ("-o", "out.onnx", "--manifest", "m.json"),
        "repair": ("-o", "out.onnx", "--manifest", "m.json", "--policy", "reset"),
        "verify": (endless,),
        "swap": (),
    }[verb]
    during = signalled(replays, number, False)
    ended = machine.run(verb, endless, *given, "--data", files.data, "--json", "seen.json", during=during)
    ended.refused("(interrupted|terminated); nothing was written", code=code)
    assert ended.seconds < 20
    assert list(machine.here.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_apply_leaves_nothing(machine, tmp_path, number, code):
    """A model so large that writing and trying it lasts."""
    rows = 3_000
    weights = {"W": (4, rows), "b": (rows,), "M": (rows, rows), "V": (rows, 2), "c": (2,)}
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 4] x) => (float[n, 2] y)'
        "{ z = Gemm (x, W, b) h = Relu (z) m = MatMul (h, M) k = Relu (m) y = Gemm (k, V, c) }"
    )
    for name, shape in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    save(tmp_path / "model.onnx", model)
    files = edits.Files(tmp_path)
    digest = open_onnx(files.model).digest
    files.manifest.write_text(
        f'{{"schema": "nla/manifest/1", "checkpoint": {{"digest": "{digest}"}}, "actions": '
        '[{"kind": "mask", "site": "h", "units": [1, 2]}]}'
    )
    ended = machine.run(
        "apply", files.manifest, files.model, *APPLY, during=signalled(has_child, number, False)
    )
    ended.refused("(interrupted|terminated); nothing was written", code=code)
    ended = machine.run(
        "apply", files.manifest, files.model, *APPLY, during=signalled(replays, number, False)
    )
    ended.check()
    assert (ended.code, ended.files) in ((code, ()), (0, ended.files))
    assert sorted(path.name for path in machine.here.iterdir()) in ([], ["out.onnx", "undo"])


def test_a_model_that_kills_onnxruntime_ends_in_one_line(machine, files):
    text = "int32[1] least = {-2147483648}, int32[1] minus = {-1}"
    model = edits.parsed(text, "q = Div (least, minus) " + models.ADDED % "q", "a")
    path = save(files.folder / "crash.onnx", model)
    words = (re.escape(str(path)), "crashed with SIGFPE")
    machine.run("apply", files.manifest, path, "--force", *APPLY).refused(*words)
    machine.run("verify", path, files.edited, "--data", files.data).refused("crashed with SIGFPE")
    machine.run("prune", path, "--data", files.data, "-o", "out.onnx").refused(*words)


def test_limits_hold_for_every_verb(machine, files, endless):
    data = ("--data", files.data)
    output = ("-o", "out.onnx")
    for verb, *given in (
        ("verify", endless),
        ("prune", *output),
        ("repair", *output, "--policy", "reset"),
        ("swap",),
    ):
        ended = machine.run(verb, endless, *given, *data, "--time-limit", "2s")
        ended.refused(r"the time limit of 2 s \(--time-limit\)")
        assert ended.seconds < 20
    for given in (
        ("apply", files.manifest, files.model, *APPLY),
        ("undo", files.undo, files.edited, "-o", "back.onnx"),
    ):
        machine.run(*given, "--memory-limit", "20MB").refused(r"limit of 19\.1 MiB")


def test_a_model_that_takes_all_memory_is_stopped(machine, files):
    twice = " ".join(f"s{k + 1} = Concat <axis = 0> (s{k}, s{k})" for k in range(40)).replace(
        "(s0, s0)", "(x, x)"
    )
    model = edits.parsed("", f"{twice} q = ReduceMax <keepdims = 0> (s40) " + models.ADDED % "q", "a")
    path = save(files.folder / "memory.onnx", model)
    ended = machine.run(
        "verify", path, path, "--data", files.data, "--memory-limit", "500MB", "--time-limit", "40s"
    )
    ended.refused("the memory limit of 0.5 GiB")


@pytest.mark.parametrize(
    "name",
    ["external data in the parent folder", "external data a link outside", "functions doubled 34 times"],
)
def test_what_a_look_can_see_is_refused_by_every_verb(machine, files, name):
    folder = files.folder / "hostile"
    folder.mkdir()
    builder, words = models.REFUSED[name]
    path = builder(folder)
    machine.run("apply", files.manifest, path, *APPLY, "--force").refused(words)
    machine.run("verify", files.model, path, "--data", files.data).refused(words)
    machine.run("undo", files.undo, path, "-o", "back.onnx").refused(words)


def test_a_result_that_would_exceed_a_protobuf_is_refused():
    """2 GB are not made here: the size is known before a byte is written."""
    with pytest.raises(OutputError, match=r"more than the 2,147,483,647 that a protobuf may have"):
        _check(Path("out.onnx"), Layout([Piece(1 << 31, tuple)], []))


# What is compared


def test_a_recording_of_another_model_gives_a_manifest_that_does_not_fit(machine, files, sample):
    assert (
        machine.run("inspect", sample / "model.onnx", "--data", sample / "data.npz", "-o", "run.h5")
        .check()
        .code
        == 0
    )
    assert machine.run("plan", "run.h5", "--policy", "prune", "-o", "manifest.json").check().code == 0
    machine.run("apply", "manifest.json", files.model, *APPLY).refused("its digest is")
    ended = machine.run(
        "verify", files.model, files.edited, "--data", files.data, "--manifest", "manifest.json"
    )
    ended.refused("its digest is|was made by the manifest")


def test_data_that_do_not_fit_are_one_line(machine, files):
    np.savez(files.data, x=np.zeros((5, 7), np.float32))
    machine.run("verify", files.model, files.edited, "--data", files.data).refused("7")
    machine.run("prune", files.model, "--data", files.data, "-o", "out.onnx").refused("7")


def test_samples_of_nan_alone_prove_nothing(machine, files):
    np.savez(files.data, x=np.full((5, 4), np.nan, np.float32))
    machine.run("verify", files.model, files.edited, "--data", files.data).refused("NaN")
    machine.run("prune", files.model, "--data", files.data, "-o", "out.onnx").refused("NaN")


def made(change):
    model = edits.parsed()
    change(model)
    return model


def poisoned(model):
    next(t for t in model.graph.initializer if t.name == "c").float_data[:] = [float("nan")] * 2


def half_poisoned(model):
    next(t for t in model.graph.initializer if t.name == "c").float_data[:] = [float("nan"), 0.25]


def test_nan_is_never_equal_by_accident(machine, files):
    nan, half = (save(files.folder / f"{f.__name__}.onnx", made(f)) for f in (poisoned, half_poisoned))
    data = ("--data", files.data)
    machine.run("verify", nan, nan, *data).refused("no output has a value that is finite")
    machine.run("prune", nan, *data, "-o", "out.onnx").refused("no output has a value that is finite")
    ended = machine.run("verify", files.model, nan, *data).check()
    assert (ended.code, "finite" in ended.out) == (1, True)
    assert machine.run("verify", nan, files.model, *data).check().code in (1, 2)
    ended = machine.run("verify", half, half, *data).check()
    assert (ended.code, "50 of 100 values NaN or infinite in the original" in ended.out) == (0, True)
    assert machine.run("verify", half, nan, *data).check().code == 1


def outputs(nodes, kind):
    """The model with an output of another type."""

    def change(model):
        parts = onnx.parser.parse_graph(f"g (float[n, 2] y) => ({kind} o) {{ {nodes} }}")
        model.graph.node.extend(parts.node)
        model.graph.output.append(parts.output[0])

    return change


KINDS = {
    "whole numbers": outputs("o = ArgMax <axis = 1> (y)", "int64[n, 1]"),
    "truth values": outputs("k = Constant <value = float {1}> () o = Greater (y, k)", "bool[n, 2]"),
    "texts": outputs("o = Cast <to = 8> (y)", "string[n, 2]"),
    "shapes of their own": outputs("p = Relu (y) t = NonZero (p) o = Transpose (t)", "int64[m, 2]"),
    "half precision": outputs("o = Cast <to = 10> (y)", "float16[n, 2]"),
}


@pytest.mark.parametrize("name", [name if name == "texts" else SLOW(name) for name in KINDS])
def test_outputs_of_every_type_are_compared(machine, files, name):
    path = save(files.folder / "kind.onnx", made(KINDS[name]))
    ended = machine.run("prune", path, "--data", files.data, "-o", "out.onnx", "-q").check()
    assert (ended.code, ended.err) == (0, "")
    other = onnx.load(path)
    next(t for t in other.graph.initializer if t.name == "c").float_data[:] = [-9.0, 3.0]
    ended = machine.run("verify", path, save(files.folder / "other.onnx", other), "--data", files.data, "-q")
    assert ended.check().code == 1


def test_large_whole_numbers_are_not_rounded(machine, files):
    def counted(last):
        model = edits.parsed()
        model.graph.initializer.append(
            numpy_helper.from_array(np.array([(1 << 53) + last], np.int64), "constant")
        )
        model.graph.node.append(helper.make_node("Identity", ["constant"], ["count"]))
        model.graph.output.append(helper.make_tensor_value_info("count", TensorProto.INT64, [1]))
        return save(files.folder / f"{last}.onnx", model)

    assert machine.run("verify", counted(0), counted(1), "--data", files.data, "-q").check().code == 1


def test_models_that_are_no_edit_of_each_other_are_one_line(machine, files, sample):
    machine.run("verify", files.model, sample / "model.onnx", "--data", files.data).refused(
        "inputs are|outputs are"
    )
    path = save(files.folder / "kind.onnx", made(KINDS["texts"]))
    machine.run("verify", files.model, path, "--data", files.data).refused("outputs are")


def test_a_model_without_sites(machine, files):
    bare = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 4] x) => (float[n, 4] y) { y = Neg (x) }'
    )
    path = save(files.folder / "bare.onnx", bare)
    for given in (("prune", "-o", "out.onnx"), ("repair", "-o", "out.onnx", "--policy", "reset"), ("swap",)):
        ended = machine.run(given[0], path, *given[1:], "--data", files.data).check()
        assert ended.code in (0, 2)
        assert len(ended.err.splitlines()) <= 1 + (ended.code == 0)
    assert machine.run("verify", path, path, "--data", files.data).check().code == 0
