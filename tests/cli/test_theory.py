"""`nla theory` on the command line: what is printed and written, what is refused, and what an interrupt leaves."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from nla.cli import endings
from nla.theory.simulation import running

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--networks", 40, "--points", 24, "--max-width", 3, "--depth", 12)


def schema(kind: str) -> dict[str, object]:
    found = json.loads((ROOT / f"schemas/{kind}-1.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return dict(found)


@pytest.mark.parametrize(
    "command", ["trainability", "initialisation", "simulate", "phases", "variance", "activations"]
)
def test_help_begins_with_examples(nla, command):
    done = nla("theory", command, "--help")
    assert done.out.startswith("Examples:\n  nla theory ")
    assert max(map(len, done.out.splitlines())) <= 100
    assert f"  {command} " in nla("theory", "--help").out
    assert nla("theory") == nla("theory", "--help")


def test_trainability_of_sizes(nla):
    done = nla("theory", "trainability", "--width", 16, "--depth", 64, "--probability", "99%")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    assert "at least 0.999024   dead at most 0.000976093 (2^-10)" in done.out
    assert "8.30198e-81 (2^-266.02)" in done.out
    assert "13 neurons are enough (eq. 9: 12.6" in done.out
    assert "of M points M/2^64, rounded up" in " ".join(done.out.split())
    orthogonal = nla("theory", "trainability", "--widths", "16,8,4", "--orthogonal")
    assert "no upper bound" in orthogonal.out
    assert "at 3, which holds 94.3 %" in orthogonal.out
    deep = nla("theory", "trainability", "--width", 2000, "--depth", 5, "--no-bias")
    assert "1 - 2^-1998" in deep.out
    assert "no biases, or zero" in deep.out


@pytest.mark.parametrize("name", ["cnn_residual", "dying_relu", "gated_block", "lstm"])
def test_trainability_of_a_model_as_text_rows_and_document(nla, name, tmp_path):
    model = ROOT / f"sample_models/{name}/model.onnx"
    done = nla("theory", "trainability", model, "--in-process", "--json", tmp_path / "t.json")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    document = json.loads((tmp_path / "t.json").read_text())
    jsonschema.validate(document, schema("trainability"))
    printed = nla("theory", "trainability", model, "--in-process", "--format", "json")
    assert json.loads(printed.out) == document
    rows = nla("theory", "trainability", model, "--in-process", "--format", "csv").out
    read = list(csv.DictReader(io.StringIO(rows)))
    assert [row["name"] for row in read] == [layer["name"] for layer in document["layers"]]
    assert [float(row["share"]) for row in read] == [layer["share"] for layer in document["layers"]]


def test_figure_2_as_text_rows_and_document(nla, tmp_path):
    done = nla("theory", "simulate", "--figure", 2, *SMALL, "--json", tmp_path / "s.json")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    assert "36 of 36 cells" in done.out
    document = json.loads((tmp_path / "s.json").read_text())
    jsonschema.validate(document, schema("simulation"))
    rows = list(
        csv.DictReader(io.StringIO(nla("theory", "simulate", "--figure", 2, *SMALL, "--format", "csv").out))
    )
    assert len(rows) == 36
    series = {each["width"]: each for each in document["series"]}
    for row in rows:
        at = int(row["depth"]) - 1
        assert int(row["alive"]) == series[int(row["width"])]["alive"][at]
        assert float(row["lower_bound"]) == series[int(row["width"])]["lower_bound"][at]


@pytest.mark.parametrize("figure", [4, 5, 6])
def test_the_other_figures(nla, figure):
    done = nla("theory", "simulate", "--figure", figure, *SMALL)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    said = {4: "width n(k)", 5: "normalised variance", 6: "batch normalisation over all points"}[figure]
    assert said in done.out
    document = json.loads(nla("theory", "simulate", "--figure", figure, *SMALL, "--json", "-").out)
    jsonschema.validate(document, schema("simulation"))


def test_an_interrupt_leaves_the_work_and_the_same_command_goes_on(nla, tmp_path, monkeypatch):
    arguments = ("theory", "simulate", "--figure", 5, *SMALL, "--threads", 1, "--quiet")
    work = tmp_path / "w.npz"
    assert nla(*arguments, "--json", tmp_path / "whole.json").code == 0
    counted, calls = running.counted, []
    endings.written.clear()  # what one process has written, of which there are several here

    def interrupted(task, block):
        calls.append(block)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return counted(task, block)

    monkeypatch.setattr(running, "counted", interrupted)
    broken = nla(*arguments, "--work", work, "--json", tmp_path / "s.json")
    assert broken.code == 130
    assert broken.err.count("\n") == 1
    assert "the same command goes on from there" in broken.err
    assert not (tmp_path / "s.json").exists()
    with np.load(work) as kept:
        assert sum(int(kept[name].sum()) for name in kept if name.startswith("done/")) >= 1
    calls[:] = [0] * 5
    done = nla(*arguments, "--work", work, "--json", tmp_path / "s.json")
    assert done.code == 0
    assert len(calls) - 5 < 9  # three widths of three blocks, some of which were done
    assert (tmp_path / "s.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    calls.clear()
    assert nla(*arguments, "--work", work).code == 0
    assert not calls
    other = nla(*arguments, "--work", work, "--seed", 1)
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "no work file of this simulation" in other.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("figure", [2, 4, 5, 6])
def test_a_figure_is_drawn_with_its_axes_and_the_same_bytes_again(nla, tmp_path, figure):
    pytest.importorskip("vl_convert")
    for name in ("a.svg", "b.svg"):
        done = nla("theory", "simulate", "--figure", figure, *SMALL, "--quiet", "--plot", tmp_path / name)
        assert (done.code, done.out, done.err) == (0, "", "")
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert b">layers<" in drawn
    assert b"seed 0" in drawn
    refused = nla("theory", "simulate", "--figure", figure, *SMALL, "--plot", tmp_path / "c.gif")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("kind", "arguments", "rows"),
    [
        ("activations", ("activations",), 18),
        ("variance", ("variance", "--width", 16, "--depth", 30, "--networks", 2, "--points", 8), 90),
        ("variance", ("variance", "--width", 16, "--depth", 3, "--networks", 0), 9),
    ],
)
def test_tables_of_activations_and_of_sizes(nla, tmp_path, kind, arguments, rows):
    pytest.importorskip("vl_convert")
    done = nla("theory", *arguments, "--json", tmp_path / "d.json", "--plot", tmp_path / "d.svg")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    assert "…" not in done.out
    document = json.loads((tmp_path / "d.json").read_text())
    jsonschema.validate(document, schema(kind))
    assert (tmp_path / "d.svg").read_text().startswith("<svg")
    read = list(csv.DictReader(io.StringIO(nla("theory", *arguments, "--format", "csv").out)))
    assert len(read) == rows


def test_phases_as_text_rows_document_and_figure(nla, tmp_path):
    pytest.importorskip("vl_convert")
    work = tmp_path / "w.npz"
    done = nla(
        "theory",
        "phases",
        *SMALL,
        "--json",
        tmp_path / "p.json",
        "--plot",
        tmp_path / "p.svg",
        "--work",
        work,
    )
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 100
    assert "0 of 120 networks dead" in done.out
    document = json.loads((tmp_path / "p.json").read_text())
    jsonschema.validate(document, schema("simulation"))
    assert document["settings"]["figure"] == 9
    assert b"upper bound is" in (tmp_path / "p.svg").read_bytes()
    again = nla("theory", "phases", *SMALL, "--work", work, "--format", "csv", "--threads", 1)
    rows = list(csv.DictReader(io.StringIO(again.out)))
    assert {row["scheme"] for row in rows} == {"independent", "residual"}
    assert len(rows) == 2 * 36
    assert all(row["low"] <= row["probability"] <= row["high"] for row in rows)


def test_initialisation_of_fans(nla, tmp_path):
    done = nla("theory", "initialisation", "--json", tmp_path / "i.json")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100
    assert "glorot-normal     0.0039062    0.0625               1.0000" in done.out
    assert "Elu                   1.2452              1.2234" in done.out
    document = json.loads((tmp_path / "i.json").read_text())
    jsonschema.validate(document, schema("initialisation"))
    assert (document["fan_in"], document["fan_out"], document["layers"]) == (256, 256, [])
    arguments = ("theory", "initialisation", "--fan-in", 784, "--format", "csv")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(nla(*arguments).out))}
    assert float(rows["he-normal"]["variance"]) == 2 / 784
    assert rows["he-normal"]["bound"] == ""


def test_initialisation_of_a_model(nla, tmp_path):
    """Before training the ranges of Glorot's uniform draws are filled; after it every scheme is rejected."""
    series = ROOT / "sample_models/dying_series"
    done = nla(
        "theory", "initialisation", series / "epoch00.onnx", "--in-process", "--json", tmp_path / "i.json"
    )
    assert (done.code, done.err) == (0, "")
    assert "range filled" in done.out
    assert "cannot" not in done.out
    document = json.loads((tmp_path / "i.json").read_text())
    jsonschema.validate(document, schema("initialisation"))
    assert [layer["strength"] for layer in document["layers"]] == ["strong"] * 3 + ["weak"]
    assert {layer["scheme"] for layer in document["layers"][:3]} == {"glorot-uniform"}
    trained = nla("theory", "initialisation", ROOT / "sample_models/dying_relu/model.onnx", "--in-process")
    assert "against" in trained.out
    assert "strong" not in trained.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("initialisation",),
        ("initialisation", ROOT / "sample_models/cnn_residual/model.onnx", "--in-process"),
        ("trainability", ROOT / "sample_models/cnn_residual/model.onnx", "--in-process"),
        ("phases", *SMALL),
        ("activations",),
        ("variance", "--width", 16, "--depth", 3, "--networks", 2),
    ],
)
def test_no_number_is_cut_at_60_columns(nla, arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    done = nla("theory", *arguments)
    assert done.code == 0
    table = [line for line in done.out.splitlines() if not line.startswith("model ")]
    assert max(map(len, table)) <= 60
    assert not [line for line in done.out.splitlines() if "…" in line.split(" ", 1)[-1]]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_a_strange_work_file_is_one_line(nla, tmp_path, content):
    work = tmp_path / "w.npz"
    work.write_bytes(content)
    done = nla("theory", "simulate", "--figure", 2, *SMALL, "--work", work)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert work.read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [
        ("trainability",),
        ("trainability", "--width", "16"),
        ("trainability", "--width", "0", "--depth", "4"),
        ("trainability", "--width", "4", "--depth", "0"),
        ("trainability", "--width", "4.5", "--depth", "4"),
        ("trainability", "--widths", "4,x"),
        ("trainability", "--widths", "4,0"),
        ("trainability", "--widths", ""),
        ("trainability", "--widths", "4", "--probability", "1"),
        ("trainability", "--widths", "4", "--probability", "0"),
        ("trainability", "--widths", "4", "--probability", "nan"),
        ("trainability", "m.onnx", "--width", "4", "--depth", "4"),
        ("trainability", "missing.onnx"),
        ("simulate",),
        ("simulate", "--figure", "3"),
        ("simulate", "--figure", "2", "--networks", "0"),
        ("simulate", "--figure", "2", "--points", "-1"),
        ("simulate", "--figure", "2", "--points", "999999999999"),
        ("simulate", "--figure", "5", "--bias"),
        ("variance", "--scheme", "he"),
        ("variance", "--activation", "swiglu"),
        ("variance", "--depth", "0"),
        ("variance", "--width", "99999999"),
        ("activations", "x"),
        ("activations", "--plot", "x.gif"),
        ("variance", "--plot", "-"),
        ("trainability", "--width", "9" * 14, "--depth", "4"),
        ("trainability", "--widths", "4", "--probability", "-0.1"),
        ("phases", "--depth", "0"),
        ("phases", "--max-width", "1.5"),
        ("phases", "--networks", "99999999999"),
        ("phases", "--bias"),
        ("initialisation", "--fan-in", "0"),
        ("initialisation", "--fan-out", "x"),
        ("initialisation", "m.onnx", "--fan-in", "4"),
        ("initialisation", "missing.onnx"),
        ("initialisation", "--layers", "a,b"),
        ("nothing",),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(nla, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = nla("theory", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
