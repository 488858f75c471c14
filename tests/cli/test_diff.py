"""`nla diff`: what it hands on, what it prints and writes, what it refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
from compared_runs import run, site
from jsonschema import Draft202012Validator

from nla import api
from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.tracking.difference import difference

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/difference-1.schema.json").read_text()))
SAMPLES = ROOT / "sample_models"


@pytest.fixture
def seen():
    before = site(
        "=cmd/Relu",
        ["active", "dead", "dormant", "active"],
        fired_samples=[90, 0, 3, 1],
        activation_rate=[0.9, 0.0, 0.03, 0.01],
        max=[4.0, 0.0, 1.0, 1.0],
    )
    after = site(
        "=cmd/Relu",
        ["dead", "active", "active", "dead"],
        fired_samples=[0, 40, 30, 0],
        activation_rate=[0.0, 0.4, 0.3, 0.0],
        max=[0.0, 2.0, 1.0, 0.0],
        rank=1.0,
    )
    return difference(run("one", before), run("two\x1b[2J", after))


@pytest.fixture
def fake_diff(monkeypatch, seen):
    mock = create_autospec(api.diff, return_value=seen)
    monkeypatch.setattr(api, "diff", mock)
    return mock


def test_every_option_reaches_the_verb_by_its_name(nla, fake_diff):
    done = nla(
        *("diff", "a.h5", "b.h5", "--site", "p", "--state", "dead", "--common-only", "--different-data"),
        *("--quantised", "--criterion", "dormancy_threshold=0.1", "--memory-limit", "1GB", "-q"),
    )
    assert done.code == 0, done.err
    given = fake_diff.call_args.kwargs
    wanted = {
        **{"before": "a.h5", "after": "b.h5", "site": ("p",), "state": ("dead",), "common_only": True},
        **{"different_data": True, "quantised": True, "memory_limit": 10**9, "data": None},
        "criteria": Criteria(dormancy_threshold=0.1),
    }
    assert {name: given[name] for name in wanted} == wanted


def test_where_nothing_is_said_of_criteria_those_of_documents_hold(nla, fake_diff):
    assert nla("diff", "a.json", "b.json", "-q").code == 0
    assert fake_diff.call_args.kwargs["criteria"] is None


def test_the_table_says_what_happened_and_what_is_no_news(nla, fake_diff):
    done = nla("diff", "a.h5", "b.h5")
    assert done.code == 0, done.err
    assert (
        "4 of 4 neurons changed state (100 %): active → dead 2, dead → active 1, dormant → active 1."
        in done.out
    )
    assert (
        "2 died, 1 revived; chance explains 1 of these 3 (p ≥ 0.05): it fired on so few samples"
        in " ".join(done.out.split())
    )
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 100


def test_csv_has_a_row_for_each_change_and_no_formula(nla, fake_diff):
    rows = list(csv.DictReader(io.StringIO(nla("diff", "a.h5", "b.h5", "--format", "csv").out)))
    assert [(row["index"], row["from"], row["to"], row["firm"]) for row in rows] == [
        ("0", "active", "dead", "True"),
        ("1", "dead", "active", "True"),
        ("2", "dormant", "active", ""),
        ("3", "active", "dead", "False"),
    ]
    assert rows[0]["site"] == "'=cmd/Relu"
    assert float(rows[3]["p_value"]) == 1.0


@pytest.mark.parametrize("how", [("--format", "json"), ("--json", "-")])
def test_standard_output_holds_the_document_alone(nla, fake_diff, how):
    document = json.loads(nla("diff", "a.h5", "b.h5", *how).out)
    SCHEMA.validate(document)
    assert document["summary"]["died"] == 2


def test_the_document_is_written_beside_the_table(nla, fake_diff, tmp_path):
    done = nla("diff", "a.h5", "b.h5", "--json", tmp_path / "d.json")
    assert "4 neurons" in done.out
    SCHEMA.validate(json.loads((tmp_path / "d.json").read_text()))


def test_a_run_is_never_written_over(nla, fake_diff, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    done = nla("diff", tmp_path / "a.json", "b.h5", "--json", tmp_path / "a.json")
    assert done.code == 2
    assert not fake_diff.called


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limit", "5"), "--limit is for checkpoints"),
        (("--labels", "y"), "--labels is for checkpoints"),
        (("--data", "x.npz", "--synthetic", "5"), "--data and --synthetic exclude each other"),
    ],
)
def test_options_of_a_replay_are_refused_where_nothing_is_replayed(nla, fake_diff, arguments, said):
    done = nla("diff", "a.h5", "b.h5", *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_refusal_is_one_line_and_exit_code_2(nla, monkeypatch):
    monkeypatch.setattr(api, "diff", create_autospec(api.diff, side_effect=UsageError("site p is q: no")))
    done = nla("diff", "a.h5", "b.h5")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1


def test_checkpoints_are_replayed_on_data_and_a_twin_is_recognised(nla, tmp_path):
    """The int8 twin of a sample model: the one neuron that differs is found, and called no news."""
    data = tmp_path / "x.npz"
    np.savez(data, x=np.load(SAMPLES / "healthy/data.npz")["x"])
    models = [SAMPLES / name / "model.onnx" for name in ("healthy", "qdq_int8")]
    done = nla("diff", *models, "--data", data, "--json", tmp_path / "d.json", "--in-process")
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "d.json").read_text())
    SCHEMA.validate(document)
    assert document["quantisation"]["kind"] == "integer"
    assert document["same_data"]
    assert document["summary"]["died"] == document["quantisation"]["summary"]["killed"]
    assert "Quantisation to integers killed" in done.out


def test_inspection_documents_with_rows_are_runs_too(nla, tmp_path):
    model, data = SAMPLES / "healthy/model.onnx", SAMPLES / "healthy/data.npz"
    wrote = tmp_path / "a.json"
    assert (
        nla(
            "inspect",
            model,
            "--data",
            data,
            "--limit",
            50,
            "--json",
            wrote,
            "--neurons",
            "-q",
            "--in-process",
        ).code
        == 0
    )
    done = nla("diff", wrote, wrote)
    assert done.code == 0, done.err
    assert "No neuron of 384 changed its state." in done.out
