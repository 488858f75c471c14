"""Hostile calibration data, labels, criteria and tokenizers."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import onnx
import pytest
from hostile import files, models
from hostile.verdicts import verdicts

PICTURES = """
<ir_version: 10, opset_import: ["" : 20]>
pictures (float[n, 3, 8, 8] x) => (float[n, 2, 8, 8] y) <float[2, 3, 1, 1] W = {1, 2, 3, -1, -2, -3}>
{ z = Conv (x, W) y = Relu (z) }
"""
TOKENS = """
<ir_version: 10, opset_import: ["" : 20]>
tokens (int64[n, s] input_ids) => (float[n, s, 2] y)
<float[4, 2] E = {1, 2, -3, 4, 5, -6, 7, 8}, float[2, 2] W = {1, -1, 2, 1}>
{ e = Gather (E, input_ids) z = MatMul (e, W) y = Relu (z) }
"""
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
}
EVERY = {**files.REFUSED, **files.IMAGES}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What came of every case that kills no process."""
    folder = tmp_path_factory.mktemp("data")
    here = folder / "here"
    here.mkdir()
    paths = {}
    for number, (name, (builder, _)) in enumerate(EVERY.items()):
        case = folder / str(number)
        case.mkdir()
        models.saved(case, onnx.parser.parse_model(PICTURES) if name in files.IMAGES else models.parsed())
        paths[name] = builder(case)
    found = verdicts("replay", paths, here)
    assert list(here.iterdir()) == []  # nothing was unpickled or executed
    return found


@pytest.mark.parametrize("name", EVERY)
def test_hostile_data_is_refused(seen, name):
    verdict = seen[name]
    assert verdict.kind == "refused", verdict
    assert re.search(EVERY[name][1], verdict.text), verdict.text
    assert re.search(r"data\.\w+|images|input_0", verdict.text), f"names no file: {verdict.text}"
    assert "\n" not in verdict.text
    assert verdict.seconds < 20


@pytest.fixture
def model(tmp_path):
    return models.saved(tmp_path, models.parsed())


def test_hdf5_that_would_kill_its_library_is_refused(machine, tmp_path, model):
    path = files.on_itself(tmp_path)
    machine.run("inspect", model, "--data", path, "-o", "run.h5").refused(str(path), "virtual dataset")


@pytest.mark.parametrize("name", ["fifo as npz", "hdf5 of /etc/passwd", "npz of objects"])
def test_a_refusal_is_one_line_and_exit_code_2(machine, tmp_path, model, name):
    builder, words = files.REFUSED[name]
    path = builder(tmp_path)
    machine.run("inspect", model, "--data", path, "-o", "run.h5", "--json", "run.json").refused(
        words, str(path)
    )


def test_rows_beyond_an_image_are_not_unpacked(machine, tmp_path):
    path = models.saved(tmp_path, onnx.parser.parse_model(PICTURES))
    assert machine.run("inspect", path, "--data", files.ROWS_BEYOND(tmp_path)).check().code == 0


def test_some_samples_of_nan_are_left_out_and_counted(machine, tmp_path, model):
    values = files.GOOD.copy()
    values[3:5, 1] = np.nan, np.inf
    data = models.data(tmp_path, x=values)
    found = json.loads(machine.run("inspect", model, "--data", data, "--json", "-").check().out)
    assert found["data"]["left_out"] == 2
    assert found["sites"][0]["samples"] == 10
    assert any("2 of 12 samples hold NaN or infinity" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\n", "labels"),
        (b"\xff\xfe" * 40, "labels"),
        (b"a,b\n" * 12, "several columns"),
        (b"9" * 5000 + b"\n" + b"1\n" * 11, None),
        (b"\x1b[31m\n" * 6 + b"=cmd\n" * 6, None),
    ],
)
def test_hostile_labels(machine, tmp_path, model, content, words):
    labels = tmp_path / "labels.csv"
    labels.write_bytes(content)
    ended = machine.run("inspect", model, "--data", models.data(tmp_path), "--labels", labels)
    if words is None:
        assert ended.check().code == 0
    else:
        ended.refused(words, "labels.csv")


def test_labels_that_are_no_characters_are_refused(machine, tmp_path, model):
    np.save(tmp_path / "labels.npy", np.array(["a", "b"] * 6))
    content = bytearray((tmp_path / "labels.npy").read_bytes())
    content[-4:] = b"\xff\xff\xff\x7f"
    (tmp_path / "labels.npy").write_bytes(content)
    ended = machine.run(
        "inspect", model, "--data", models.data(tmp_path), "--labels", tmp_path / "labels.npy"
    )
    ended.refused("no Unicode character")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 10_000,
        "dormancy_threshold = 0.1\ndormancy_threshold = 0.2",
        "dormancy_threshold = nan",
        "dormancy_threshold = true",
        "polysemantic_labels = 2.0",
        "polysemantic_labels = " + "9" * 400,
        "polysemantic_labels = " + "9" * 5000,
        '"\\u001b[31m" = 1',
        ".".join("a" * 500_000) + " = 1",
        "\0",
    ],
)
def test_hostile_criteria_are_refused_at_once(machine, tmp_path, model, text):
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    ended = machine.run("inspect", model, "--data", models.data(tmp_path), "--criteria", path)
    ended.refused(r"criteria\.toml")
    assert ended.seconds < 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {}}, "not a readable tokenizer"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "absent"}}, "cannot be tokenised"),
        (
            {"model": {"type": "WordLevel", "vocab": {"a": 2**31, "[UNK]": 2}, "unk_token": "[UNK]"}},
            "onnxruntime",
        ),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(("},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "not a",
        ),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}]
                    * 12,
                }
            },
            "memory limit",
        ),
    ],
)
def test_hostile_tokenizers(machine, tmp_path, change, words):
    path = models.saved(tmp_path, onnx.parser.parse_model(TOKENS))
    (tmp_path / "tokenizer.json").write_text(json.dumps({**TOKENIZER, **change}))
    (tmp_path / "data.txt").write_text("a b\nb a a\n")
    ended = machine.run(
        "inspect",
        path,
        "--data",
        tmp_path / "data.txt",
        "--tokenizer",
        tmp_path / "tokenizer.json",
        "--memory-limit",
        "400MB",
    )
    ended.refused(words)


def test_a_tokenizer_that_is_none_is_refused(machine, tmp_path):
    path = models.saved(tmp_path, onnx.parser.parse_model(TOKENS))
    (tmp_path / "tokenizer.json").write_bytes(os.urandom(300))
    (tmp_path / "data.txt").write_text("a b\n")
    ended = machine.run(
        "inspect", path, "--data", tmp_path / "data.txt", "--tokenizer", tmp_path / "tokenizer.json"
    )
    ended.refused(r"tokenizer\.json")
