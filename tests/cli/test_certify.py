"""`nla certify` and the evidence that it leaves: in inspections, plans and manifests."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from nla.errors import UsageError
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
    assert "ask for proofs with certify" in done.err


@pytest.mark.parametrize(
    "options", [("--box", "0:1"), ("--domain", "any"), ("--ranges", "r.npz"), ("--margin", "0.1")]
)
@pytest.mark.parametrize("data", [(), ("--data", "no-such-file.npz")])
def test_a_domain_without_certify_is_refused_before_anything_is_read(nla, options, data):
    done = nla("inspect", "no-such-model.onnx", *data, *options)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert f"{options[0].removeprefix('--')} says for which inputs silence is proved" in done.err


@pytest.mark.parametrize("verb", ["inspect", "prune"])
def test_a_domain_that_leaves_out_data_is_refused_before_the_replay(nla, tmp_path, monkeypatch, verb):
    from nla.replay import tasks

    monkeypatch.setattr(tasks, "inspect", lambda *given: pytest.fail("the replay began"))
    asked = ("--certify", "--box", "0:0.5", "-o", tmp_path / "out.onnx", "--in-process")
    done = nla(verb, MODEL, "--data", DATA, *asked)
    assert done.code == 2
    assert "the domain does not cover the data: sample 0" in done.err


def test_certify_needs_data_to_find_the_dead(nla):
    done = nla("inspect", MODEL, "--certify", "--box", "0:1")
    assert done.code == 2
    assert "certify is about data" in done.err


# --- prune and repair


def test_prune_proves_and_takes_out_what_is_proved_only(nla, tmp_path):
    edited, path = tmp_path / "e.onnx", tmp_path / "m.json"
    done = nla(
        *("prune", MODEL, "--data", DATA, "--certify", *BOX, "--require", "certificate"),
        *("-o", edited, "--manifest", path),
    )
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.split())
    assert "remove /fc1/Relu, 3 units: outputs unchanged, proved over the domain (x between 0 and 1)" in said
    jsonschema.validate(json.loads(path.read_text()), schema("manifest"))
    (action,) = read(path).actions
    assert (action.site, action.units) == ("/fc1/Relu", (7, 8, 9))
    assert action.evidence["certificate"] == ["certified"] * 3
    assert action.evidence["certificates"]["text"] == "x between 0 and 1"
    assert "not proved silent over the domain" in " ".join(each.reason for each in read(path).declined)


def test_prune_takes_certificates_from_a_file(nla, tmp_path):
    proofs, edited, path = (tmp_path / name for name in ("c.json", "e.onnx", "m.json"))
    nla("certify", MODEL, *BOX, "--method", "interval", "-o", proofs, "-q")
    asked = ("--require", "certificate", "--certificates", proofs, "--in-process")
    done = nla("prune", MODEL, "--data", DATA, *asked, "-o", edited, "--manifest", path, "-q")
    assert (done.code, done.err) == (0, "")
    assert [action.units for action in read(path).actions] == [(7, 8, 9)]
    refused = nla("prune", MODEL, "--data", DATA, *asked, "-o", proofs)
    assert "it is the file that was read" in refused.err


def test_repair_wakes_what_is_proved_dead_only(nla, tmp_path):
    path = tmp_path / "m.json"
    done = nla(
        *(
            "repair",
            MODEL,
            "--data",
            DATA,
            "--policy",
            "reset",
            "--certify",
            *BOX,
            "--require",
            "certificate",
        ),
        *("-o", tmp_path / "e.onnx", "--manifest", path, "-q"),
    )
    assert (done.code, done.err) == (0, "")
    assert [(action.kind, action.units) for action in read(path).actions] == [("reset", (7, 8, 9))]


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("prune", ("--require", "certificate"), "certificates are required, and there are none"),
        ("repair", ("--policy", "reset", "--require", "certificate"), "--certify"),
        ("prune", ("--certify", "--certificates", "c.json"), "leave one of them out"),
        ("prune", ("--box", "0:1"), "box says for which inputs"),
        ("prune", ("--certificates", "no.json"), "no.json: no such file"),
        ("prune", ("--certify", "--margin", "nan"), "margin"),
        ("repair", ("--policy", "strip", "--rounds", "2", "--certificates", "c.json"), "first round makes"),
    ],
)
def test_proofs_that_cannot_be_had_are_refused_before_the_replay(nla, tmp_path, verb, options, said):
    done = nla(verb, MODEL, "--data", tmp_path / "no-such-data.npz", *options, "-o", tmp_path / "e.onnx")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_what_a_layer_was_seen_to_read_is_a_condition_that_the_plan_states(nla, tmp_path):
    edited, path = tmp_path / "e.onnx", tmp_path / "m.json"
    done = nla(
        *("prune", MODEL, "--data", DATA, "--certify", "--domain", "observed", "--require", "certificate"),
        *("-o", edited, "--manifest", path, "--in-process"),
    )
    assert (done.code, done.err) == (0, "")
    condition = (
        "whatever keeps what each layer reads within the range of each element seen over 1,796 samples"
    )
    said = " ".join(done.out.split())
    assert f"proved over the domain ({condition})" in said
    assert "which inputs belong to it shows only when they are run" in said
    (action,) = read(path).actions
    assert action.evidence["certificates"]["domain"] == "observed"
    assert action.evidence["certificates"]["text"] == condition


# --- files that were tampered with


def test_weights_that_differ_by_one_bit_have_other_certificates(nla, run, tmp_path):
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("model.onnx", "weights.bin"):
        content = bytearray((MODEL.parent / name).read_bytes())
        if name == "weights.bin":
            content[0] ^= 1
        (folder / name).write_bytes(content)
    proofs = tmp_path / "c.json"
    nla("certify", folder / "model.onnx", *BOX, "--method", "interval", "-o", proofs, "-q")
    done = nla("plan", run, "--policy", "remove", "--certificates", proofs)
    assert done.code == 2
    assert "another checkpoint" in done.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["sites"][0]["rows"][1].update(verdict="certified"), "which its numbers do not show"),
        (lambda d: d["sites"][0].update(neurons=64), "another width, activation or threshold"),
        (lambda d: d["sites"][0].update(activation="Gelu"), "another width, activation or threshold"),
        (lambda d: d["domain"]["inputs"][0].update(text="any x"), "words of the domain"),
        (lambda d: d.update(constants={"s": "1"}), "other constants"),
        (lambda d: d.update(note="signed"), "which nla does not write"),
    ],
)
def test_a_plan_refuses_certificates_that_contradict_themselves_or_the_recording(
    nla, run, proofs, tmp_path, change, said
):
    plain = json.loads(proofs)
    change(plain)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(plain))
    done = nla("plan", run, "--policy", "remove", "--require", "certificate", "--certificates", path)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The document of honest certificates."""
    import nla

    path = tmp_path_factory.mktemp("proofs") / "c.json"
    nla.certify(MODEL, box="0:1", method="interval", output=path, in_process=True)
    return path.read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": 5}, "site is 5, expected a name"),
        ({"state": [None]}, "state is"),
        ({"require": 5}, "require is 5"),
        ({"min_margin": "far"}, "min_margin is 'far', expected a number"),
        ({"certificates": 5}, "certificates is 5, expected the name of a file"),
    ],
)
def test_wrong_types_from_python_are_one_line(run, given, said):
    import nla

    with pytest.raises(UsageError, match=said):
        nla.plan(run, "prune", **given)
    with pytest.raises(UsageError, match=said):
        nla.prune(MODEL, DATA, "never.onnx", **given)


def test_one_name_does_as_well_as_a_list(run):
    import nla

    one, several = (
        nla.plan(run, "remove", site=site, require=require, in_process=True)
        for site, require in (("/fc1/Relu", "certificate"), (["/fc1/Relu"], ["certificate"]))
    )
    assert one.dumps() == several.dumps()
    with pytest.raises(UsageError, match="rules is 5"):
        nla.check(run, rules=5, in_process=True)
