"""`nla apply`, `undo`, `masks`, `verify`, `prune`, `repair` and `swap` on a sample model: files, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

import nla as library
from nla.verbs import together

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = ROOT / "sample_models/dying_relu/model.onnx", ROOT / "sample_models/dying_relu/data.npz"
VERIFICATION = json.loads((ROOT / "schemas/verification-1.schema.json").read_text())
DEAD = 203
"""Neurons that all samples leave silent."""


@pytest.fixture
def nla(nla):
    """As `nla`, in one process: a verification is four children, which other tests run."""
    return lambda verb, *arguments: nla(verb, *arguments, *(() if verb == "masks" else ("--in-process",)))


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> dict[str, Path]:
    """Manifests by policy."""
    folder = tmp_path_factory.mktemp("planned")
    run = folder / "run.h5"
    library.inspect(MODEL, DATA, output=run, in_process=True)
    for policy in ("prune", "mask", "reset"):
        library.plan(run, policy, output=folder / f"{policy}.json", in_process=True)
    return {policy: folder / f"{policy}.json" for policy in ("prune", "mask", "reset")}


def outputs(path: Path) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.load(DATA)["x"]})[0]


def weights(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_apply_prunes_and_says_what_it_did(nla, planned, tmp_path):
    done = nla(
        "apply", planned["prune"], MODEL, "-o", tmp_path / "out.onnx", "--json", tmp_path / "report.json"
    )
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    parameters = sum(w.size for w in weights(tmp_path / "out.onnx").values())
    assert report["parameters"] == {"before": 42634, "after": parameters}
    assert report["bytes"]["after"] == (tmp_path / "out.onnx").stat().st_size
    assert report["multiply_adds"]["after"] < report["multiply_adds"]["before"] == 42240
    assert sum(len(action["done"]) for action in report["actions"]) == DEAD
    assert f"{parameters:,}" in done.out
    assert (
        np.abs(outputs(MODEL) - outputs(tmp_path / "out.onnx")).max() <= 1e-5 * np.abs(outputs(MODEL)).max()
    )
    assert names(tmp_path) == ["out.onnx", "report.json"]


def test_the_model_names_its_manifest_and_the_same_manifest_gives_the_same_bytes(nla, planned, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        assert nla("apply", planned["prune"], MODEL, "-o", tmp_path / name, "-q").out == ""
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    import hashlib

    metadata = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert metadata["nla.manifest"] == hashlib.sha256(planned["prune"].read_bytes()).hexdigest()


def test_a_dry_run_counts_the_same_and_writes_nothing(nla, planned, tmp_path):
    dry = nla("apply", planned["prune"], MODEL, "--dry-run", "--json", "-")
    real = nla("apply", planned["prune"], MODEL, "-o", tmp_path / "out.onnx", "--json", "-")
    dry, real = json.loads(dry.out), json.loads(real.out)
    for report in (dry, real):
        report["bytes"].pop("after")  # the written one holds the manifest's digest too
    assert dry == real
    assert names(tmp_path) == ["out.onnx"]
    assert nla("apply", planned["prune"], MODEL, "--dry-run").out.startswith("DRY RUN")


def test_widths_are_kept_at_a_multiple(nla, planned, tmp_path):
    done = nla("apply", planned["prune"], MODEL, "-o", tmp_path / "out.onnx", "--round-to", 8)
    assert done.code == 0
    shapes = {w.shape[0] for name, w in weights(tmp_path / "out.onnx").items() if "bias" in name}
    assert all(width % 8 == 0 for width in shapes - {10})
    assert "for its width of" in done.out
    done = nla(
        "verify", MODEL, tmp_path / "out.onnx", "--data", DATA, "--manifest", planned["prune"], "--json", "-"
    )
    seen = json.loads(done.out)
    assert seen["holds"]
    assert all(site["matched"] for site in seen["states"])


def test_undo_brings_every_byte_back(nla, planned, tmp_path):
    for policy in ("prune", "mask", "reset"):
        undo, edited, restored = (
            tmp_path / f"{policy}.{end}" for end in ("safetensors", "onnx", "back.onnx")
        )
        assert nla("apply", planned[policy], MODEL, "-o", edited, "--record-undo", undo).code == 0
        done = nla("undo", undo, edited, "-o", restored)
        assert (done.code, done.err) == (0, "")
        assert restored.read_bytes() == MODEL.read_bytes()
        assert "byte for byte" in done.out


def test_an_undo_file_belongs_to_one_model(nla, planned, tmp_path):
    undo = tmp_path / "undo.safetensors"
    assert nla("apply", planned["mask"], MODEL, "-o", tmp_path / "a.onnx", "--record-undo", undo).code == 0
    done = nla("undo", undo, MODEL, "-o", tmp_path / "back.onnx")
    assert done.code == 2
    assert "belongs to the model with digest" in done.err
    assert not (tmp_path / "back.onnx").exists()


def test_masks_leave_the_outputs_as_they_are(nla, planned, tmp_path):
    done = nla("masks", planned["prune"], "-o", tmp_path / "masks.safetensors")
    assert (done.code, done.err) == (0, "")
    masks, proto = load_file(tmp_path / "masks.safetensors"), onnx.load(MODEL)
    for tensor in proto.graph.initializer:
        if tensor.name in masks:
            values = numpy_helper.to_array(tensor)
            assert (masks[tensor.name].dtype, masks[tensor.name].shape) == (np.bool_, values.shape)
            tensor.CopyFrom(numpy_helper.from_array(values * masks[tensor.name], tensor.name))
    onnx.save(proto, tmp_path / "masked.onnx")
    assert len(masks) == 7
    assert np.array_equal(outputs(MODEL), outputs(tmp_path / "masked.onnx"))


def changed(path: Path, folder: Path, change) -> Path:
    document = json.loads(path.read_text())
    change(document)
    other = folder / "changed.json"
    other.write_text(json.dumps(document))
    return other


BAD = {
    "another checkpoint": (lambda m: m["checkpoint"].update(digest="0" * 64), "digest"),
    "an unknown site": (lambda m: m["actions"][0].update(site="nowhere"), "nowhere"),
    "a unit out of range": (lambda m: m["actions"][0]["units"].append(999), "999"),
    "an unknown kind": (lambda m: m["actions"][0].update(kind="explode"), "explode"),
    "a later schema": (lambda m: m.update(schema="nla/manifest/99"), "nla/manifest/99"),
}


@pytest.mark.parametrize(("change", "told"), BAD.values(), ids=BAD)
def test_a_manifest_that_does_not_fit_is_one_line(nla, planned, tmp_path, change, told):
    done = nla("apply", changed(planned["prune"], tmp_path, change), MODEL, "-o", tmp_path / "out.onnx")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert told in done.err
    assert names(tmp_path) == ["changed.json"]


def test_another_checkpoint_is_edited_only_by_force(nla, planned, tmp_path):
    manifest = changed(planned["prune"], tmp_path, lambda m: m["checkpoint"].update(digest="0" * 64))
    assert nla("apply", manifest, MODEL, "-o", tmp_path / "out.onnx", "--force").code == 0


def test_an_action_can_be_struck_and_the_rest_applied(nla, planned, tmp_path):
    manifest = changed(planned["prune"], tmp_path, lambda m: m["actions"].pop(0))
    assert nla("apply", manifest, MODEL, "-o", tmp_path / "out.onnx").code == 0
    assert weights(tmp_path / "out.onnx")["fc1.weight"].shape == weights(MODEL)["fc1.weight"].shape
    done = nla("verify", MODEL, tmp_path / "out.onnx", "--data", DATA, "--manifest", manifest)
    assert (done.code, done.err) == (0, "")


def test_an_empty_manifest_changes_nothing(nla, planned, tmp_path):
    manifest = changed(planned["prune"], tmp_path, lambda m: m.update(actions=[]))
    assert nla("apply", manifest, MODEL, "-o", tmp_path / "out.onnx").code == 0
    one, other = (
        onnx.load(path).SerializeToString(deterministic=True) for path in (MODEL, tmp_path / "out.onnx")
    )
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "-o"),
        (("-o", "{model}"), "it is the file that was read"),
        (("-o", "{manifest}"), "it is the file that was read"),
        (("-o", "-"), "standard output"),
        (("-o", "{folder}/no/out.onnx"), "does not exist"),
        (("-o", "{folder}/out.onnx", "--dry-run"), "leave -o out"),
        (("-o", "{folder}/out.onnx", "--record-undo", "{folder}/out.onnx"), "two outputs"),
        (("-o", "{folder}/out.onnx", "--round-to", "0"), "whole number from 1"),
    ],
)
def test_outputs_that_make_no_sense_are_refused_before_any_work(nla, planned, tmp_path, arguments, told):
    before = MODEL.read_bytes()
    places = {"model": MODEL, "manifest": planned["prune"], "folder": tmp_path}
    done = nla("apply", planned["prune"], MODEL, *(text.format(**places) for text in arguments))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert told in done.err
    assert (names(tmp_path), MODEL.read_bytes()) == ([], before)


def test_verify_says_no_with_exit_code_1(nla, tmp_path):
    proto = onnx.load(MODEL)
    bias = next(t for t in proto.graph.initializer if t.name == "fc3.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(proto, tmp_path / "other.onnx")
    done = nla("verify", MODEL, tmp_path / "other.onnx", "--data", DATA, "--json", tmp_path / "v.json")
    assert (done.code, done.err) == (1, "")
    assert "DOES NOT HOLD" in done.out
    document = json.loads((tmp_path / "v.json").read_text())
    jsonschema.validate(document, VERIFICATION)
    assert document["holds"] is False
    assert nla("verify", MODEL, MODEL, "--data", DATA, "-q").code == 0


def test_verify_wants_the_manifest_that_was_applied(nla, planned, tmp_path):
    assert nla("apply", planned["mask"], MODEL, "-o", tmp_path / "masked.onnx").code == 0
    done = nla("verify", MODEL, tmp_path / "masked.onnx", "--data", DATA, "--manifest", planned["prune"])
    assert done.code == 2
    assert "give the one that was applied" in done.err


def test_verify_needs_data(nla):
    done = nla("verify", MODEL, MODEL)
    assert done.code == 2
    assert "--data" in done.err


def test_prune_keeps_what_holds_and_writes_what_it_did(nla, tmp_path):
    done = nla("prune", MODEL, "--data", DATA, "-o", tmp_path / "out.onnx", "--manifest", tmp_path / "m.json")
    assert (done.code, done.err) == (0, "")
    assert names(tmp_path) == ["m.json", "out.onnx"]
    assert library.plan  # the manifest is one that the other verbs take
    assert nla("masks", tmp_path / "m.json", "-o", tmp_path / "masks.safetensors").code == 0
    done = nla("verify", MODEL, tmp_path / "out.onnx", "--data", DATA, "--manifest", tmp_path / "m.json")
    assert done.code == 0
    assert f"{DEAD} units" in done.out
    again = library.inspect(tmp_path / "out.onnx", DATA, in_process=True)
    assert again.summary["dead"] == 0


def test_prune_and_plan_apply_give_the_same_weights(nla, planned, tmp_path):
    assert nla("prune", MODEL, "--data", DATA, "-o", tmp_path / "a.onnx", "-q").code == 0
    assert nla("apply", planned["prune"], MODEL, "-o", tmp_path / "b.onnx", "-q").code == 0
    one, other = weights(tmp_path / "a.onnx"), weights(tmp_path / "b.onnx")
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_does_not_hold_is_not_kept(nla, tmp_path, monkeypatch):
    from dataclasses import replace

    from nla.verification import Promise

    real = together.verified

    def broken(*given):
        return replace(real(*given), promises=(Promise("a1", "remove", "s", 1, "a", "b", False),))

    monkeypatch.setattr(together, "verified", broken)
    done = nla("prune", MODEL, "--data", DATA, "-o", tmp_path / "out.onnx", "--manifest", tmp_path / "m.json")
    assert (done.code, done.err) == (1, "")
    assert "nothing was written" in done.out
    assert names(tmp_path) == []


def test_prune_refuses_what_it_would_write_over(nla, tmp_path):
    done = nla("prune", MODEL, "--data", DATA, "-o", MODEL)
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = nla("prune", MODEL, "--data", DATA)
    assert "-o" in done.err


def test_the_document_of_a_pruning_keeps_to_the_schema_of_verifications(nla, tmp_path):
    held = ("--held-out", "0.2", "--require", "held-out")
    done = nla("prune", MODEL, "--data", DATA, *held, "-o", tmp_path / "out.onnx", "--json", "-")
    assert done.code == 0
    document = json.loads(done.out)
    jsonschema.validate(document, VERIFICATION)
    assert document["splits"]["held_out"]["unchanged"]  # what fires there was left alone
    assert len(document["surgery"]) == 1


@pytest.mark.parametrize(("policy", "fewest"), [("reset", 190), ("shift", 190), ("strip", 60)])
def test_repair_wakes_neurons_and_says_how_many(nla, tmp_path, policy, fewest):
    options = ("--policy", policy, "-o", tmp_path / "out.onnx", "--json", tmp_path / "v.json")
    done = nla("repair", MODEL, "--data", DATA, *options)
    assert (done.code, done.err) == (0, "")
    document = json.loads((tmp_path / "v.json").read_text())
    jsonschema.validate(document, VERIFICATION)
    assert sum(site["revived"] for site in document["states"]) >= fewest
    after = library.inspect(tmp_path / "out.onnx", DATA, in_process=True)
    assert after.summary["dead"] <= DEAD - fewest + 5


def test_repair_in_rounds_goes_on_until_the_target_is_met(tmp_path):
    """In this process: twenty children, one after another, would be at the mercy of what else the machine does."""
    out, first = tmp_path / "out.onnx", tmp_path / "m.json"
    done = library.repair(MODEL, DATA, out, policy="strip", rounds=20, manifest=first, in_process=True)
    assert done.verification.holds
    assert 2 < len(done.rounds) < 20
    assert sorted(tmp_path.glob("m*.json")) == sorted(done.manifests)
    before = library.inspect(MODEL, DATA, in_process=True)
    after = library.inspect(out, DATA, in_process=True)
    dead = np.concatenate([site.states == "dead" for site in before.sites])
    rates = np.concatenate([site.columns["activation_rate"] for site in after.sites])
    assert (rates[dead] >= 0.01).mean() > 0.95
    # Applied one after the other, the manifests give the very same model.
    at = MODEL
    for number, manifest in enumerate(done.manifests, 1):
        library.apply(manifest, at, tmp_path / f"{number}.onnx", in_process=True)
        at = tmp_path / f"{number}.onnx"
    assert at.read_bytes() == out.read_bytes()


def test_repair_in_rounds_on_the_command_line_writes_a_manifest_for_each(nla, tmp_path):
    options = (
        "--policy",
        "strip",
        "--rounds",
        2,
        "-o",
        tmp_path / "out.onnx",
        "--manifest",
        tmp_path / "m.json",
    )
    done = nla("repair", MODEL, "--data", DATA, *options)
    assert (done.code, done.err) == (0, "")
    assert names(tmp_path) == ["m.2.json", "m.json", "out.onnx"]


def test_swap_compares_candidates_and_writes_one_on_request(nla, tmp_path):
    done = nla("swap", MODEL, "--data", DATA, "--candidates", "gelu,leakyrelu", "--json", tmp_path / "s.json")
    assert (done.code, done.err) == (0, "")
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["candidates"] == ["Gelu", "LeakyRelu"]
    assert document["summary"]["dead"]["as it is"] == DEAD
    assert document["summary"]["dead"]["Gelu"] < DEAD
    assert "LeakyRelu" in done.out
    kept = tmp_path / "elu.onnx"
    options = ("--candidates", "elu", "--to", "elu", "-o", kept)
    assert nla("swap", MODEL, "--data", DATA, *options).code == 0
    assert "Elu" in {node.op_type for node in onnx.load(kept).graph.node}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("--candidates", "swish2"), "swish2"), (("--to", "gelu"), "-o"), (("-o", "out.onnx"), "--to")],
)
def test_a_swap_that_makes_no_sense_is_one_line(nla, arguments, told):
    done = nla("swap", MODEL, "--data", DATA, *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert told in done.err
