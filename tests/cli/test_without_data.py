"""`nla inspect MODEL` on the command line: what is printed and written where no data are given."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from builders import model as graph
from builders import normal

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas/weights-1.schema.json").read_text())
SAMPLE = ROOT / "sample_models/constant_units/model.onnx"


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_first_line_says_that_nothing_was_seen_and_the_last_what_to_do(nla):
    done = nla("inspect", SAMPLE)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "NO DATA" in lines[0]
    assert "no activation was seen" in lines[0]
    assert lines[-1].endswith("--data DATA")
    assert max(len(line) for line in lines[:-1]) <= 100
    assert "/fc2/Relu [2, 12, 22, 31] constant: incoming weights are zero, bias 1.5" in done.out
    assert "7 neurons have no effect" in done.out
    assert "×2.33 (eq. 4, 2" in done.out
    assert "active" not in done.out.replace("activation", "")


def test_the_document_is_written_and_keeps_to_its_schema(nla, tmp_path):
    done = nla("inspect", SAMPLE, "--json", tmp_path / "weights.json", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    document = json.loads((tmp_path / "weights.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["schema"] == "nla/weights/1"
    assert document["activations_seen"] is False
    assert document["summary"]["constant"] == 4
    printed = nla("inspect", SAMPLE, "--json", "-")
    assert json.loads(printed.out) == document


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "run.h5"), "a recording holds what a replay"),
        (("--labels", "y"), "labels is about data"),
        (("--resize", "8x8"), "resize is about data"),
        (("--held-out", "0.2"), "held-out is about data"),
        (("--limit", "3"), "limit is about data"),
    ],
)
def test_what_is_about_data_is_one_line_and_exit_code_2(nla, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = nla("inspect", SAMPLE, *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert "--data" in done.err
    assert not list(tmp_path.iterdir())


def test_names_from_a_file_are_escaped_and_many_layers_are_cut_short(nla, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    lines, weights, before = [], {}, "x"
    for k in range(45):
        weights[f"w{k}"] = normal(rng, 8, 8)
        lines.append(f"z{k} = MatMul ({before}, w{k})  a{k} = Relu (z{k})")
        before = f"a{k}"
    text = "g (float[n, 8] x) => (float[n, 8] y) {\n" + "\n".join(lines) + f"\ny = Identity ({before}) }}"
    proto = graph(text, weights)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == "a3":
                    names[at] = "evil\x1b[31m\nname" + "long" * 40
    onnx.save(proto, tmp_path / "m.onnx")
    done = nla("inspect", tmp_path / "m.onnx", "--in-process")
    assert done.code == 0
    assert "\x1b[31m" not in done.out
    assert "and 5 layers more: --json has all of them" in done.out
    assert max(len(line) for line in done.out.splitlines()[:-1]) <= 100


def test_a_narrow_terminal_is_kept_to(nla, monkeypatch):
    monkeypatch.setenv("COLUMNS", "84")
    done = nla("inspect", SAMPLE)
    assert max(len(line) for line in done.out.splitlines()[:-1]) <= 84


def test_the_readme_shows_what_is_printed(nla, monkeypatch):
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("### Without data") : readme.index("## Prune and repair")]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    done = nla("inspect", "sample_models/constant_units/model.onnx")
    assert section.partition("```text\n")[2].partition("\n```")[0] == done.out.rstrip("\n")
