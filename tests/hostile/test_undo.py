"""Hostile undo files: a header that lies, a skeleton that is no model, another model's; one line, nothing written."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from hostile import edits, models
from hostile.verdicts import verdicts
from onnx import ModelProto


def split(content):
    """The header and the bytes behind it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, body):
    """The file, with a sum that fits."""
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + body[:-32]
    return content + hashlib.sha256(content).digest()


def header(change):
    """A case that changes the header."""

    def spoil(content):
        found, body = split(content)
        change(found)
        return joined(found, body)

    return spoil


def skeleton(change):
    """A case that changes the protobuf which the file keeps."""

    def spoil(content):
        found, body = split(content)
        begin, end = found["model"]["data_offsets"]
        model = ModelProto.FromString(body[begin:end])
        made = change(model)
        new = made if isinstance(made, bytes) else model.SerializeToString()
        grown = len(new) - (end - begin)
        for name, entry in found.items():
            if name != "__metadata__" and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [at + grown for at in entry["data_offsets"]]
        found["model"] = {"dtype": "U8", "shape": [len(new)], "data_offsets": [begin, begin + len(new)]}
        return joined(found, body[:begin] + new + body[end:])

    return spoil


def weight(model, name="W"):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def marked(**entries):
    """A case in which a weight says something else about where its values were."""

    def change(model):
        tensor = weight(model)
        del tensor.external_data[:]
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return skeleton(change)


def renamed(old, new):
    return header(lambda found: found.update({new: found.pop(old)}))


CASES = {
    "empty": (lambda content: b"", "not a safetensors file|would have"),
    "cut short": (lambda content: content[:-20], "not a readable safetensors file"),
    "cut in the header": (lambda content: content[:100], "not a safetensors file"),
    "a header of 2^62 bytes": (
        lambda content: (1 << 62).to_bytes(8, "little") + content[8:],
        "header would have",
    ),
    "a header that is no JSON": (lambda content: content[:8] + b"[" * 200 + content[208:], "not a readable"),
    "a shape that does not fit": (
        header(lambda found: found["weight:W"].update(shape=[4, 5])),
        "not a readable",
    ),
    "a type that does not fit": (
        header(lambda found: found["weight:W"].update(dtype="F64")),
        "not a readable",
    ),
    "a type that is none": (header(lambda found: found["weight:W"].update(dtype="\x1b")), "not a readable"),
    "offsets beyond the end": (
        header(lambda found: found["weight:W"].update(data_offsets=[0, 1 << 40])),
        "not a readable",
    ),
    "metadata that are none": (
        header(lambda found: found.update(__metadata__={"format": 1})),
        "not a readable",
    ),
    "another format": (
        header(lambda found: found["__metadata__"].update(format="pt\x1b")),
        r"its format is 'pt\\x1b'",
    ),
    "a later format": (
        header(lambda found: found["__metadata__"].update(format="nla/undo/2")),
        "a later nla",
    ),
    "of another model": (
        header(lambda found: found["__metadata__"].update(edited="0" * 64)),
        "it belongs to the model",
    ),
    "without the original's digest": (
        header(lambda found: found["__metadata__"].pop("original")),
        "it belongs to",
    ),
    "without a model": (renamed("model", "modem"), "holds no 'model'"),
    "without a weight": (renamed("weight:W", "weight:w"), "neither kept in the undo file nor"),
    "a weight of another's": (
        header(lambda found: found.update({"weight:W": found["weight:b"], "weight:b": found["weight:W"]})),
        "takes 64 bytes|takes 16 bytes",
    ),
    "a model that does not parse": (skeleton(lambda model: b"\xff" * 100), "does not parse"),
    "a model that grows without end": (skeleton(models.doubling_functions(34)), "more than 100,000 nodes"),
    "a model with 100,000 weights": (skeleton(models.unused_initializers), "initializers"),
    "a weight of 2^60": (
        skeleton(lambda model: weight(model).dims.__setitem__(slice(None), [1 << 30, 1 << 30])),
        "takes|multiply|entries",
    ),
    "a weight of another type": (
        skeleton(lambda model: setattr(weight(model), "data_type", 11)),
        "takes 128 bytes",
    ),
    "a weight of an unknown type": (skeleton(lambda model: setattr(weight(model), "data_type", 99)), "type"),
    "a weight in a field that is none": (marked(**{"nla.field": "dims\x1b"}), r"said to be in 'dims\\x1b'"),
    "a weight among the texts": (marked(**{"nla.field": "string_data"}), "said to be in 'string_data'"),
    "a byte of a weight": (
        lambda content: content[:-600] + b"?" + content[-599:],
        "changed, or spoilt on the way",
    ),
    "without a sum": (renamed("~sha256", "~sha257"), "holds no '~sha256'"),
    "a weight at no plain place": (marked(location="w.bin", offset="-1", length="64"), "no plain number|-1"),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory, honest):
    folder = tmp_path_factory.mktemp("undo")
    for name, content in honest.contents().items():
        (folder / name).write_bytes(content)
    paths = {name: folder / f"{k}.safetensors" for k, name in enumerate([*CASES, "honest"])}
    for name, path in paths.items():
        spoil = CASES[name][0] if name in CASES else bytes
        path.write_bytes(spoil(honest.undo.read_bytes()))
    before = honest.contents()
    found = verdicts("undo", paths, folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert sorted(
        path.name for path in folder.iterdir() if path.suffix != ".safetensors" and path.name not in before
    ) == ["made.onnx"]
    return found


def test_the_honest_one_brings_every_byte_back(seen):
    assert (seen["honest"].kind, seen["honest"].text) == ("done", "identical: True")


@pytest.mark.parametrize("name", CASES)
def test_hostile_undo_files_are_refused_in_one_line(seen, name):
    verdict = seen[name]
    assert verdict.kind == "refused", verdict
    assert re.search(CASES[name][1], verdict.text), verdict.text
    assert verdict.text.isprintable()
    assert len(verdict.text) < 600
    assert verdict.seconds < 20


@pytest.mark.parametrize("name", ["cut short", "of another model", "a model that grows without end"])
def test_a_refusal_is_one_line_and_exit_code_2(machine, files, name):
    spoil, words = CASES[name]
    files.undo.write_bytes(spoil(files.undo.read_bytes()))
    before = files.contents()
    machine.run("undo", files.undo, files.edited, "-o", "back.onnx").refused(
        words, re.escape(str(files.undo))
    )
    assert files.contents() == before


def test_the_original_is_not_the_edited_model(machine, files):
    machine.run("undo", files.undo, files.model, "-o", "back.onnx").refused(
        "it belongs to the model with digest"
    )


def test_what_is_brought_back_is_laid_over_no_file_that_is_read(machine, tmp_path):
    """The original's weights go to `<output>.data`, which is where the edited model's are."""
    files = edits.Files(tmp_path)
    edits.prepared(tmp_path, edits.external(tmp_path, "weights.bin"))
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes(files.edited.read_bytes())
    before = (tmp_path / "edited.onnx.data").read_bytes()
    files.edited.unlink()
    ended = machine.run("undo", files.undo, renamed, "-o", files.edited)
    ended.refused("edited.onnx.data: it is (the file|external data)")
    assert (tmp_path / "edited.onnx.data").read_bytes() == before
    assert not files.edited.exists()
