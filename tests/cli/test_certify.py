"""`nla certify` and the evidence that it leaves: in inspections, plans and manifests."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from nla.manifest.document import read

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "sample_models" / "external_data" / "model.onnx"
DATA = ROOT / "sample_models" / "external_data" / "data.npz"
BOX = ("--box", "0:1", "--in-process")


def schema(name: str) -> dict:
    return json.loads((ROOT / "schemas" / f"{name}-1.schema.json").read_text())


def test_the_table_says_domain_verdicts_and_what_they_mean(nla):
    done = nla("certify", MODEL, *BOX)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "domain      box: x between 0 and 1" in lines
    row = next(line for line in lines if line.startswith("/fc1/Relu "))
    assert row.split() == ["/fc1/Relu", "Relu", "32", "32", "3", "29", "0"]
    assert any(line.startswith("  /fc1/Relu [9]  z ≤ -4.9181") and "by interval" in line for line in lines)
    assert "silent for every input of this domain" in done.out
    assert max(map(len, lines)) <= 100


def test_every_neuron_is_listed_where_asked(nla):
    few, every = (nla("certify", MODEL, *BOX, *more).out for more in ((), ("--all",)))
    assert "more: --all lists every one" in few
    assert "more: --all" not in every
    assert every.count("/fc2/Relu [") == 32


def test_csv_has_a_row_for_each_neuron(nla):
    done = nla("certify", MODEL, *BOX, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 64
    assert [int(r["index"]) for r in rows if r["verdict"] == "certified"] == [7, 8, 9]
    assert all(float(r["z"]) > 0 for r in rows if r["verdict"] == "refuted")


def test_document_and_witnesses_are_written(nla, tmp_path):
    document, arrays = tmp_path / "c.json", tmp_path / "w.npz"
    done = nla("certify", MODEL, *BOX, "-o", document, "--witnesses", arrays, "-q")
    assert done.code == 0, done.err
    assert done.out == ""
    plain = json.loads(document.read_text())
    jsonschema.validate(plain, schema("certificate"))
    printed = nla("certify", MODEL, *BOX, "--format", "json").out
    assert json.loads(printed)["sites"] == plain["sites"]
    with np.load(arrays) as held:
        refuted = plain["summary"]["refuted"]
        assert len(held["witness.site"]) == len(held["witness.neuron"]) == len(held["witness.row"]) == refuted
        assert held["x"].dtype == np.float32
        assert held["x"].shape[1:] == (64,)
        assert held["witness.row"].max() == len(held["x"]) - 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--box", "1:0"), "is empty"),
        (("--box", "0:1", "--size", "x"), "expected INPUT=SIZExSIZE"),
        (("--box", "0:1", "--size", "x=1x64", "--size", "x=1x64"), "given twice"),
        (("--box", "0:1", "--witnesses", "-"), "name a file"),
        (("--domain", "sphere"), "sphere"),
        (("--box", "0:1", "--run", "no.h5"), "no such file"),
        (("--box", "0:1", "-o", str(MODEL)), "cannot write"),
    ],
)
def test_bad_options_are_one_line_and_exit_two(nla, options, said):
    done = nla("certify", MODEL, *options, "--in-process")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


# --- evidence


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with proofs of its dead."""
    import nla

    path = tmp_path_factory.mktemp("certified") / "run.h5"
    nla.inspect(MODEL, DATA, output=path, certify=True, box="0:1", in_process=True)
    return path


def test_inspect_proves_what_it_found_dead(nla, tmp_path):
    document = tmp_path / "i.json"
    done = nla(*("inspect", MODEL, "--data", DATA, "--certify", *BOX, "--json", document, "--neurons"))
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "3 of them are proved silent for every input of the domain (x between 0 and 1)" in said
    assert "2 are woken by an input of it" in said
    plain = json.loads(document.read_text())
    jsonschema.validate(plain, schema("inspection"))
    assert plain["certificates"]["dead"] == {"certified": 3, "refuted": 2, "undecided": 0, "unasked": 0}
    rows = plain["sites"][0]["rows"]
    assert {r["index"]: r["certificate"] for r in rows if r["certificate"]} == dict.fromkeys(
        (7, 8, 9), "certified"
    )
    assert all(r["certificate_bound"] < 0 for r in rows if r["certificate"] == "certified")


def test_the_recording_keeps_the_proofs(nla, run):
    rows = list(csv.DictReader(io.StringIO(nla("neurons", run, "--format", "csv").out)))
    seen = {(r["site"], int(r["index"])): r["certificate"] for r in rows if r["certificate"]}
    assert seen == {
        **{("/fc1/Relu", k): "certified" for k in (7, 8, 9)},
        **{("/fc2/Relu", k): "refuted" for k in (15, 20)},
    }
    assert "proved" in nla("neurons", run, "--state", "dead").out


def test_a_plan_takes_only_what_is_proved(nla, run, tmp_path):
    path = tmp_path / "m.json"
    done = nla("plan", run, "--policy", "remove", "--require", "certificate", "-o", path)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "All of them are proved silent for every input of the domain (x between 0 and 1)" in said
    assert "not proved silent over the domain (--require certificate)" in said
    jsonschema.validate(json.loads(path.read_text()), schema("manifest"))
    (action,) = read(path).actions
    assert (action.site, action.units) == ("/fc1/Relu", (7, 8, 9))
    assert action.evidence["certificate"] == ["certified"] * 3
    assert all(bound < -4 for bound in action.evidence["certificate_bound"])
    assert action.evidence["certificates"]["text"] == "x between 0 and 1"
    assert action.evidence["certificates"]["checkpoint"] == read(path).checkpoint["digest"]


def test_certificates_of_a_file_do_as_well_and_the_edit_is_verified(nla, tmp_path):
    run, proofs, path, edited = (tmp_path / name for name in ("r.h5", "c.json", "m.json", "e.onnx"))
    nla("inspect", MODEL, "--data", DATA, "-o", run, "-q", "--in-process")
    refused = nla("plan", run, "--policy", "remove", "--require", "certificate")
    assert refused.code == 2
    assert "there are none" in refused.err
    nla("certify", MODEL, *BOX, "-o", proofs, "-q")
    asked = ("--require", "certificate", "--certificates", proofs)
    assert nla("plan", run, "--policy", "remove", *asked, "-o", path, "-q").code == 0
    assert [action.units for action in read(path).actions] == [(7, 8, 9)]
    assert nla("apply", path, MODEL, "-o", edited, "-q", "--in-process").code == 0
    done = nla("verify", MODEL, edited, "--data", DATA, "--manifest", path, "--in-process")
    assert done.code == 0, done.out
    said = " ".join(done.out.split())
    assert "outputs unchanged, proved over the domain (x between 0 and 1); the same bits" in said


def test_certificates_of_another_checkpoint_are_refused(nla, run, tmp_path):
    proofs = tmp_path / "c.json"
    other = ROOT / "sample_models" / "fixed_batch" / "model.onnx"
    nla("certify", other, *BOX, "--method", "interval", "-o", proofs, "-q")
    done = nla("plan", run, "--policy", "remove", "--certificates", proofs)
    assert done.code == 2
    assert "another checkpoint" in done.err
    plain = json.loads(proofs.read_text())
    proofs.write_text(json.dumps({**plain, "schema": "nla/certificate/3"}))
    done = nla("plan", run, "--policy", "remove", "--certificates", proofs)
    assert done.code == 2
    assert "later version" in done.err


def test_a_unit_that_a_person_adds_is_not_said_to_be_proved(nla, run, tmp_path):
    from nla.verification.promises import _unchanged

    path = tmp_path / "m.json"
    nla("plan", run, "--policy", "remove", "--require", "certificate", "-o", path, "-q")
    plain = json.loads(path.read_text())
    plain["actions"][0]["units"].append(1)
    plain["actions"][0]["evidence"]["certificate"] = {str(k): "certified" for k in (7, 8, 9)}
    path.write_text(json.dumps(plain))
    (action,) = read(path).actions
    assert _unchanged(action) == "outputs unchanged"


def test_a_domain_without_certify_is_refused(nla):
    done = nla("inspect", MODEL, "--data", DATA, *BOX)
    assert done.code == 2
    assert "ask for them with certify" in done.err
