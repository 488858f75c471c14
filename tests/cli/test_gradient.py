"""`nla theory gradient` on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "sample_models/cnn_residual/model.onnx"
DATA = ROOT / "sample_models/cnn_residual/data.npz"
GIVEN = (MODEL, "--data", DATA, "--limit", 40, "--in-process")


def test_help_begins_with_examples(nla):
    done = nla("theory", "gradient", "--help")
    assert done.out.startswith("Examples:\n  nla theory gradient ")
    assert max(map(len, done.out.splitlines())) <= 100


def test_the_table_names_every_layer_from_the_output_down(nla, tmp_path):
    done = nla("theory", "gradient", *GIVEN, "--json", tmp_path / "g.json")
    assert (done.code, done.err) == (0, f"wrote {tmp_path / 'g.json'}\n" if done.err else "")
    assert max(map(len, done.out.splitlines())) <= 100
    lines = [
        line.split()[0]
        for line in done.out.splitlines()
        if ("/Relu " in line and "≤" in line) or "(output)" in line
    ]
    assert lines == ["logits", "/block/relu2/Relu", "/block/relu1/Relu", "/stem/Relu"]  # each with a bound
    assert "neither vanishes nor explodes" in done.out
    assert "summed over all paths" in " ".join(done.out.split())
    document = json.loads((tmp_path / "g.json").read_text())
    jsonschema.validate(document, json.loads((ROOT / "schemas/gradient-1.schema.json").read_text()))
    assert [layer["role"] for layer in document["layers"]][-1] == "output"


def test_rows_and_document_on_standard_output(nla):
    done = nla("theory", "gradient", *GIVEN, "--loss", "mean-square", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 12 * 3 + 10
    assert {"layer", "neuron", "rms", "peak", "row_norm", "bias_abs"} == set(rows[0])
    document = json.loads(nla("theory", "gradient", *GIVEN, "--format", "json").out)
    assert document["schema"] == "nla/gradient/1"
    assert nla("theory", "gradient", *GIVEN, "--quiet").out == ""


def test_a_figure_is_drawn(nla, tmp_path):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    done = nla("theory", "gradient", *GIVEN, "--plot", tmp_path / "flow.svg", "--quiet")
    assert done.code == 0
    drawn = (tmp_path / "flow.svg").read_text()
    assert drawn.startswith("<svg")
    assert "at most, by eq. 4" in drawn
    assert "norm of the gradient" in drawn


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((MODEL,), "give calibration data with --data"),
        ((MODEL, "--data", DATA, "--loss-of", "q", "--in-process"), "no output 'q'"),
        ((MODEL, "--data", DATA, "--json", MODEL), "--json"),
        ((MODEL, "--data", DATA, "--plot", "figure.gif"), ".svg"),
        (("missing.onnx", "--data", DATA, "--in-process"), "missing.onnx"),
        ((MODEL, "--synthetic", 4, "--in-process"), "no labels"),
    ],
)
def test_refusals_are_one_line_and_exit_with_2(nla, arguments, said):
    done = nla("theory", "gradient", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
