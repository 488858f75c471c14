"""`nla compare`: what it hands on, its three tables, what it refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from compared_runs import run, site
from jsonschema import Draft202012Validator

import nla as package
from nla import api
from nla.errors import UsageError
from nla.tracking.comparison import comparison

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/comparison-1.schema.json").read_text()))


@pytest.fixture
def seen():
    rates = {"activation_rate": [0.0, 0.0, 0.5, 0.5]}
    relu = run(
        "relu|<b>",
        *(site(f"l{k}", ["dead", "dead", "active", "dormant"], **rates) for k in range(20)),
    )
    elu = run("elu", site("l0", ["active"] * 4, activation="Elu", **rates))
    return comparison([relu, elu], columns={"accuracy": (0.9736, None), "=how": ("adam", "sgd")})


@pytest.fixture
def fake_compare(monkeypatch, seen):
    mock = create_autospec(api.compare, return_value=seen)
    monkeypatch.setattr(api, "compare", mock)
    return mock


def test_every_option_reaches_the_verb_by_its_name(nla, fake_compare):
    done = nla(
        "compare",
        "a.h5",
        "b.h5",
        "--name",
        "A,B",
        "--column",
        "acc=1,2",
        "--column",
        "t=3,4",
        "--columns",
        "f.csv",
    )
    assert done.code == 0, done.err
    given = fake_compare.call_args.kwargs
    assert given["runs"] == ("a.h5", "b.h5")
    assert given["name"] == ("A", "B")
    assert given["column"] == {"acc": "1,2", "t": "3,4"}
    assert given["columns"] == "f.csv"
    assert given["criteria"] is None


def test_the_table_fits_whatever_the_depth(nla, fake_compare):
    done = nla("compare", "a.h5", "b.h5")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 100
    lines = [line.split() for line in done.out.splitlines()]
    assert ["relu|<b>", "Relu", "20", "80", "0.9736", "adam", "50.0", "%", "50.0", "%", "25.0", "%"] in [
        line[:12] for line in lines
    ]
    assert "L20" in done.out
    assert "Never on" in done.out
    assert "eq. 18 as printed" in done.out


def test_csv_has_a_row_for_each_layer_of_each_run(nla, fake_compare):
    rows = list(csv.DictReader(io.StringIO(nla("compare", "a.h5", "b.h5", "--format", "csv").out)))
    assert len(rows) == 21
    assert (rows[0]["run"], rows[0]["layer"], rows[0]["dead"], rows[0]["dead_share"]) == (
        "relu|<b>",
        "1",
        "2",
        "0.5",
    )
    assert (rows[20]["accuracy"], rows[20]["'=how"]) == ("", "sgd")


def test_markdown_can_be_pasted(nla, fake_compare):
    text = nla("compare", "a.h5", "b.h5", "--format", "markdown").out
    assert "| relu\\|&lt;b> | Relu | 20 | 80 | 0.9736 | adam |" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") > 3 for line in tables)


@pytest.mark.parametrize("how", [("--format", "json"), ("--json", "-")])
def test_standard_output_holds_the_document_alone(nla, fake_compare, how):
    document = json.loads(nla("compare", "a.h5", "b.h5", *how).out)
    SCHEMA.validate(document)
    assert document["columns"] == ["accuracy", "=how"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--column", "acc"), "NAME=VALUE"),
        (("--column", "a=1", "--column", "a=2"), "given twice"),
        (("--limit", "3"), "--limit is for checkpoints"),
        (("--name", ","), "expected a name"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(nla, fake_compare, arguments, said):
    done = nla("compare", "a.h5", "b.h5", *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.fixture(scope="module")
def inspections():
    return [
        package.inspect(
            ROOT / f"sample_models/{name}/model.onnx",
            ROOT / f"sample_models/{name}/data.npz",
            in_process=True,
        )
        for name in ("dying_relu", "saturated_tanh")
    ]


def test_columns_of_a_file_stand_beside_those_given(inspections, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("﻿run,accuracy\ndying,0.965\nunknown,1\n", "utf-8")
    seen = package.compare(inspections, name=["dying", "tanh"], columns=table, column={"rate": [0.03, 0.001]})
    assert seen.columns == ("accuracy", "rate")
    assert seen["dying"].columns == {"accuracy": 0.965, "rate": 0.03}
    assert seen["tanh"].columns["accuracy"] is None
    assert seen["dying"].total("dead") == 203
    assert seen["tanh"].total("saturated") == 16
    assert any("says nothing of tanh" in note for note in seen.notes)
    assert any("saw other data" in note for note in seen.notes)
    SCHEMA.validate(seen.to_dict())


def test_a_column_from_two_places_or_a_file_that_is_none_is_refused(inspections, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("run,accuracy\nx,1\ny,2\n")
    with pytest.raises(UsageError, match="'accuracy' is given twice"):
        package.compare(inspections, name=["x", "y"], columns=table, column={"accuracy": [1, 2]})
    for path in (tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(UsageError, match="expected a CSV table"):
            package.compare(inspections, columns=path)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="expected a CSV table in UTF-8"):
        package.compare(inspections, columns=tmp_path / "bytes.csv")


def test_random_numbers_are_never_taken_for_data(nla):
    models = [ROOT / f"sample_models/{name}/model.onnx" for name in ("dying_relu", "healthy")]
    for command in (("compare", *models), ("diff", *models)):
        done = nla(*command, "--synthetic", 5, "--in-process")
        assert done.code == 0, done.err
        assert "SYNTHETIC DATA" in done.out.splitlines()[0]
