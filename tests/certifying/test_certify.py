"""`nla certify` on the sample models: verdicts held against onnxruntime itself, and documents against their schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest

import nla
from nla.certificates import results
from nla.certificates.methods import METHODS
from nla.certificates.reading import from_dict, read
from nla.certificates.results import Certificates, rounded_up
from nla.cli.options import certifying as options
from nla.errors import DataError, MissingExtraError, UsageError
from nla.lifecycle import certified
from nla.verbs import certifying as verb
from nla.verbs import proofs

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
PLANTED = {
    "external_data": {"/fc1/Relu": [7, 8, 9], "/fc2/Relu": []},
    "fixed_batch": {"/conv/Relu": [3], "/fc1/Relu": [0, 10]},
    "dormant_gelu": {"/fc1/Gelu": [5, 25], "/fc2/Gelu": [5, 25]},
    "fp16": {"/fc1/Relu": [6, 16, 26], "/fc2/Relu": []},
}
"""Neurons with a large negative bias, as sample_models/making plants them, that no input in [0, 1] wakes."""
SCHEMA = json.loads((ROOT / "schemas" / "certificate-1.schema.json").read_text())


def model(name: str) -> Path:
    return SAMPLES / name / "model.onnx"


@cache
def proved(name: str) -> Certificates:
    return nla.certify(model(name), box="0:1", in_process=True)


def session(path: Path, taps: list[str]) -> onnxruntime.InferenceSession:
    """The model as onnx reads it, with further outputs; nothing of nla."""
    loaded = onnx.load(path)
    have = {output.name for output in loaded.graph.output}
    for name in taps:
        if name not in have:
            loaded.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(loaded.SerializeToString(), options, ["CPUExecutionProvider"])


def activations(path: Path, site: str, feeds: dict[str, np.ndarray], neurons: int) -> np.ndarray:
    """[neurons, everything else]"""
    a = session(path, [site]).run([site], feeds)[0].astype(np.float64)
    axis = next(k for k in range(1, a.ndim) if a.shape[k] == neurons)
    return np.moveaxis(a, axis, 0).reshape(neurons, -1)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_neurons_are_certified_and_every_other_one_is_refuted(name):
    found = proved(name)
    assert {s.name: s.index[s.verdict == "certified"].tolist() for s in found.sites} == PLANTED[name]
    assert found.summary["undecided"] == 0
    assert found.arithmetic == ("float16" if name == "fp16" else "float32")


@pytest.mark.parametrize("name", PLANTED)
def test_every_witness_wakes_its_neuron_in_onnxruntime_and_lies_in_the_domain(name):
    found = proved(name)
    for values in found.witnesses.values():
        assert values.min() >= 0
        assert values.max() <= 1
    for site in found.sites:
        running = session(model(name), [site.name])
        for k in np.flatnonzero(site.verdict == "refuted")[::5]:
            feeds = {key: rows[site.row[k]][None] for key, rows in found.witnesses.items()}
            a = running.run([site.name], feeds)[0].astype(np.float64)
            axis = next(axis for axis in range(1, a.ndim) if a.shape[axis] == site.neurons)
            own = np.moveaxis(a, axis, 0)[site.index[k]]
            assert np.isclose(own, site.a[k], rtol=1e-3, atol=1e-5).any()
            assert np.abs(own).max() > 0


@pytest.mark.parametrize("name", ["external_data", "dormant_gelu"])
def test_certified_neurons_stay_silent_on_random_inputs_and_corners_of_the_domain(name):
    found = proved(name)
    (key, shape), *_ = found.shapes.items()
    rng = np.random.default_rng(0)
    inside = rng.random((200, *shape[1:]), dtype=np.float32)
    corners = (rng.random((200, *shape[1:])) < rng.random((200, 1))).astype(np.float32)
    for site in found.sites:
        a = activations(model(name), site.name, {key: np.concatenate([inside, corners])}, site.neurons)
        silent = site.index[site.verdict == "certified"]
        assert (np.abs(a[silent]) <= site.plateau).all()


def test_a_neuron_of_one_site_by_one_method():
    found = nla.certify(
        model("external_data"), box="0:1", site=["/fc1/Relu"], neuron=[8], method="interval", in_process=True
    )
    (site,) = found.sites
    assert site.index.tolist() == [8]
    assert site.inequality(0) == f"z ≤ {rounded_up(site.bound[0])} ≤ 0 over the domain: a = 0"
    weights = {
        i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(model("external_data")).graph.initializer
    }
    w = next(v for v in weights.values() if v.shape in ((64, 32), (32, 64)))
    b = next(v for v in weights.values() if v.shape == (32,))
    w = w if w.shape[0] == 64 else w.T
    exact = b[8] + np.maximum(w[:, 8].astype(float), 0).sum()
    assert exact <= site.bound[0] <= exact + 1e-4


def test_the_domain_of_the_data_is_the_range_of_each_element():
    with np.load(SAMPLES / "external_data" / "data.npz") as held:
        x = held["x"]
    found = nla.certify(model("external_data"), x, in_process=True, method="interval")
    (stated,) = found.domain["inputs"]
    assert found.domain["kind"] == "data"
    assert (stated["low"], stated["high"], stated["samples"]) == (float(x.min()), float(x.max()), len(x))
    by_data = [site for site in found.sites if (site.found == "data").any()]
    assert by_data
    site = by_data[0]
    k = int(np.flatnonzero(site.found == "data")[0])
    seen = site.witness(k)
    assert seen is not None
    a = activations(model("external_data"), site.name, {"x": x[[seen.sample]]}, site.neurons)
    assert a[site.index[k]].max() == pytest.approx(seen.a, rel=1e-4)


def test_a_hull_is_no_larger_than_the_box_of_its_data():
    with np.load(SAMPLES / "external_data" / "data.npz") as held:
        x = held["x"][:100]
    ask = {"method": "interval,linear", "site": ["/fc1/Relu"], "in_process": True}
    box = nla.certify(model("external_data"), x, domain="data", **ask)
    hull = nla.certify(model("external_data"), x, domain="hull", **ask)
    wide = nla.certify(model("external_data"), x, domain="hull", margin=0.1, **ask)
    assert hull.summary["certified"] >= max(box.summary["certified"], wide.summary["certified"])
    assert set(hull["/fc1/Relu"].found) <= {"data", "ascent", ""}


def test_a_budget_that_is_spent_leaves_neurons_undecided_and_says_so():
    found = nla.certify(model("dying_relu"), box="0:1", time_budget=1e-6, in_process=True)
    assert found.summary["undecided"] > 0
    reasons = {reason for site in found.sites for reason in site.reason if reason}
    assert reasons == {"the time budget of 1e-06 s was spent before z was bounded at all"}


def test_sites_behind_an_operator_without_a_rule_are_never_certified():
    found = nla.certify(model("qdq_int8"), box="0:1", in_process=True)
    assert found.sites == ()
    assert found.summary == {"neurons": 384, "certified": 0, "refuted": 0, "undecided": 384}
    assert all("no sound rule" in each.reason for each in found.undecidable)


def test_the_dead_of_a_recording_are_asked_and_no_others(tmp_path):
    data, run = SAMPLES / "external_data" / "data.npz", tmp_path / "run.h5"
    inspection = nla.inspect(model("external_data"), data, output=run, in_process=True)
    found = nla.certify(model("external_data"), box="0:1", run=run, in_process=True)
    dead = {s.name: np.flatnonzero(s.states == "dead").tolist() for s in inspection.sites}
    assert {s.name: s.index.tolist() for s in found.sites} == {
        name: units for name, units in dead.items() if units
    }
    with pytest.raises(UsageError, match="another checkpoint"):
        nla.certify(model("healthy"), box="0:1", run=run, in_process=True)


# --- the document


@pytest.mark.parametrize("name", PLANTED)
def test_the_document_is_as_its_schema_says_and_reads_back(name, tmp_path):
    found = proved(name)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    again = read(path)
    assert again.about() == found.about()
    assert again.summary == found.summary
    for one, other in zip(again.sites, found.sites, strict=True):
        assert one.verdict.tolist() == other.verdict.tolist()
        assert np.array_equal(one.bound, other.bound)


def test_it_travels_from_the_child_unchanged():
    found = proved("external_data")
    again = Certificates.from_plain(*found.to_plain())
    assert again.to_dict() == found.to_dict()
    assert {name: rows.tobytes() for name, rows in again.witnesses.items()} == {
        name: rows.tobytes() for name, rows in found.witnesses.items()
    }


def changed(**fields: object) -> dict:
    return {**proved("external_data").to_dict(), **fields}


def plain_copy() -> dict:
    return json.loads(json.dumps(proved("external_data").to_dict()))


def forged(of: str = "refuted", **row: object) -> dict:
    document = plain_copy()
    rows = document["sites"][0]["rows"]
    next(each for each in rows if each["verdict"] == of).update(row)
    return document


def put(path: str, value: object) -> dict:
    """The document with one value changed, or taken out."""
    document = plain_copy()
    *way, last = path.split(".")
    place = document
    for name in way:
        place = place[int(name)] if name.isdecimal() else place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return document


GONE = object()
X = np.zeros((2, 64), np.float32)
SAID = "sites.0.rows.0.inequality"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (changed(schema="nla/certificate/2"), "later version"),
        (changed(schema="nla/manifest/1"), "no certificates"),
        ([], "no object"),
        (changed(checkpoint={"digest": "x"}), "no sha256"),
        (changed(sites={}), "sites is no list"),
        (changed(domain={"kind": "box"}), "domain.assumes"),
        (forged(index=999), "no whole number from 0 to 31"),
        (forged(verdict="certified"), "which its numbers do not show"),
        (forged(verdict="safe"), "expected one of"),
        (forged(bound="low"), "no number"),
        (forged(index=True), "no whole number"),
        (forged(index=32), "no whole number from 0 to 31"),
        (forged(witness=None), "witness is no object"),
        (forged(bound=-1.0), "which its numbers do not show"),
        (forged("certified", bound=0.5), "which its numbers do not show"),
        (forged("certified", bound=None), "which its numbers do not show"),
        (forged("certified", verdict="undecided"), "which its numbers do not show"),
        (forged("certified", verdict="refuted"), "which its numbers do not show"),
        (forged("certified", method=None), "which its numbers do not show"),
        (forged("certified", method="prayer"), "which its numbers do not show"),
        (forged("certified", bound=-9.0), r"inequality is .*, which the rest contradicts"),
        (forged("certified", radius=-1.0), "a radius is from 0"),
        (forged("refuted", radius=1.0), "a radius is from 0"),
        (forged("certified", proof="trust me"), "has a field 'proof'"),
        (put("extra", 1), "the document has a field 'extra'"),
        (put("summary", GONE), "lacks 'summary'"),
        (put("summary.certified", 64), r"summary.certified is 64, which the rest contradicts: 3"),
        (put("sites.0.counts.certified", 30), "which the rest contradicts"),
        (put(SAID, GONE), r"sites\[0\].rows\[0\] lacks 'inequality'"),
        (put("sites.0.threshold", 1e9), "which its numbers do not show"),
        (put("sites.1.name", "/fc1/Relu"), "/fc1/Relu is there twice"),
        (put("arithmetic.unit_roundoff", 2.0**-53), "of no arithmetic"),
        (put("arithmetic.model", "float16"), "which the rest contradicts"),
        (put("domain.kind", "any"), "is of kind box, and the whole is any"),
        (put("domain.kind", "sphere"), "expected one of"),
        (put("domain.inputs.0.text", "any x"), "words of the domain of x"),
        (put("domain.inputs.0.high", 2.0), "words of the domain of x"),
        (put("domain.inputs.0.sha256", "0" * 64), "digest of the domain of x"),
        (put("methods", ["hope"]), "expected one of"),
        (put("seconds", None), "seconds is no number"),
    ],
)
def test_a_strange_document_is_refused_in_one_line(document, said):
    with pytest.raises(UsageError, match=said) as fault:
        from_dict(document, "c.json")
    assert str(fault.value).startswith("c.json: ")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"schema": NaN}', b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused(content, tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        read(path)


# --- what is asked


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "for which inputs"),
        ({"box": "1:0"}, "empty"),
        ({"box": "nan:1"}, "not a number"),
        ({"box": "0"}, "no range"),
        ({"box": "y=0:1"}, "no input"),
        ({"box": "0:1", "site": ["/fc9/Relu"]}, "no site '/fc9/Relu'; did you mean /fc"),
        ({"box": "0:1", "site": ["/fc1/Relu"], "neuron": [32]}, "no neuron 32"),
        ({"box": "0:1", "neuron": [1]}, "name the site"),
        ({"box": "0:1", "method": "guess"}, "no method"),
        ({"box": "0:1", "method": ()}, "no method"),
        ({"box": "0:1", "domain": "data"}, "takes no --box"),
        ({"domain": "box"}, "needs --box, such as"),
        ({"domain": "file"}, "needs --ranges"),
        ({"domain": "data"}, "give --data"),
        ({"domain": "ball"}, "no domain"),
        ({"box": "0:1", "margin": 0.1}, "--margin"),
        ({"box": "0:1", "margin": -1.0}, "margin"),
        ({"box": "0:1", "ranges": "r.npz"}, "give one of them"),
        ({"box": "0:1", "time_budget": 0.0}, "above 0"),
        ({"box": "0:1", "size": {"x": [1, 3]}}, "the model has 64 there"),
        ({"box": "0:1", "size": {"x": [1, 64, 1]}}, "3 sizes, the input has 2"),
        ({"box": "0:1", "size": {"z": [1]}}, "no such input"),
        ({"box": 5}, "box is 5, expected a range"),
        ({"box": [5]}, r"box is \[5\], expected a range"),
        ({"box": None}, "box is None"),
        ({"box": ""}, "is no range"),
        ({"ranges": 5}, "ranges is 5, expected the name of a file"),
        ({"ranges": "nope.npz"}, "nope.npz: cannot be read: No such file"),
        ({"domain": 5}, "no domain"),
        ({"box": "0:1", "margin": "wide"}, "margin is 'wide'"),
        ({"data": X, "margin": float("nan")}, "margin is nan"),
        ({"data": X, "margin": float("inf")}, "margin is inf"),
        ({"box": "0:1", "time_budget": "60"}, "time budget is '60'"),
        ({"box": "0:1", "time_budget": -1}, "time budget is -1"),
        ({"box": "0:1", "time_budget": float("nan")}, "time budget is nan"),
        ({"box": "0:1", "time_budget": float("inf")}, "or None for no end"),
        ({"box": "0:1", "site": 5}, "site is 5"),
        ({"box": "0:1", "site": "/fc1/Relo"}, "did you mean /fc1/Relu"),
        ({"box": "0:1", "site": "/fc1/Relu", "neuron": 1.5}, "neuron is 1.5"),
        ({"box": "0:1", "site": "/fc1/Relu", "neuron": -1}, "neuron is -1"),
        ({"box": "0:1", "site": "/fc1/Relu", "neuron": True}, "neuron is True"),
        ({"box": "0:1", "method": 5}, "method is 5"),
        ({"box": "0:1", "size": 5}, "size is 5"),
        ({"box": "0:1", "size": {"x": "1x64"}}, "size of x is '1x64'"),
        ({"box": "0:1", "seed": -1}, "seed is -1"),
        ({"box": "0:1", "run": 5}, "run is 5"),
        ({"box": "0:1", "output": 5}, "output is 5"),
        ({"data": 5}, "data is of type int"),
    ],
)
def test_bad_input_is_one_line(given, said):
    with pytest.raises(UsageError, match=said) as fault:
        nla.certify(model("external_data"), in_process=True, **given)
    assert "\n" not in str(fault.value)


def test_a_domain_must_cover_the_data():
    data = SAMPLES / "external_data" / "data.npz"
    with pytest.raises(UsageError, match="does not cover the data: sample 0"):
        nla.certify(model("external_data"), data, box="0:0.5", in_process=True)


def test_data_with_nan_have_no_range():
    x = np.full((3, 64), np.nan, np.float32)
    with pytest.raises((UsageError, DataError), match="nan"):
        nla.certify(model("external_data"), x, in_process=True)


def test_the_exact_methods_ask_for_their_extra(monkeypatch):
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    exact = [name for name, method in METHODS.items() if method.extra]
    if not exact:
        pytest.skip("no method needs an extra here")
    with pytest.raises(MissingExtraError, match=r"nla\[exact\]"):
        nla.certify(model("external_data"), box="0:1", method=exact, in_process=True)


def test_what_is_written_twice_is_the_same():
    assert certified.VERDICTS == results.VERDICTS
    assert options.DOMAINS == proofs.DOMAINS
    assert set(METHODS) <= set(options.METHODS)
    assert SCHEMA["properties"]["domain"]["properties"]["kind"]["enum"] == list(proofs.DOMAINS)


@pytest.mark.parametrize("bound", [1.0000001, -4.9181249, -0.5, 0.0, 1e-12, -3.3e-7, 12345678.9, -1e300])
def test_a_printed_bound_is_never_below_the_bound(bound):
    assert float(rounded_up(bound)) >= bound
    assert float(rounded_up(bound)) == pytest.approx(bound, rel=2e-5, abs=0)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("sites", "neurons"),
    [
        pytest.param(["/act.0/Relu_output_0", "/act.1/Relu_output_0"], 512, id="two-layers"),
        pytest.param([], 1280, id="all", marks=pytest.mark.slow),
    ],
)
def test_raw_pixels_allow_no_proof_on_the_dying_relu_network(shared, sites, neurons):
    path = shared / "models" / "dying-relu" / "relu" / "epoch12.onnx"
    found = nla.certify(path, box="0:1", site=sites, method="interval", in_process=True)
    assert found.summary == {"neurons": neurons, "certified": 0, "refuted": neurons, "undecided": 0}


# --- behind a normalisation, and in other shapes of model


def saved(path: Path, inputs: list, nodes: list, arrays: dict[str, np.ndarray], output: list) -> Path:
    """A model of one output y."""
    floats = onnx.TensorProto.FLOAT
    declared = [onnx.helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs]
    graph = onnx.helper.make_graph(
        nodes,
        "made",
        declared,
        [onnx.helper.make_tensor_value_info("y", floats, output)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


def normalised(path: Path, sizes: list) -> Path:
    """relu(LayerNorm(x)·w + b), n = 4: √4·‖(1, -1, 0, 0)‖ = 2.83 is above one bias and below the other."""
    make = onnx.helper.make_node
    nodes = [
        make("LayerNormalization", ["x", "g"], ["u"]),
        make("MatMul", ["u", "w"], ["v"]),
        make("Add", ["v", "b"], ["z"]),
        make("Relu", ["z"], ["y"]),
    ]
    w = np.array([[1, 1], [-1, -1], [0, 0], [0, 0]], np.float32)
    arrays = {"g": np.ones(4, np.float32), "w": w, "b": np.array([-2.9, -2.5], np.float32)}
    return saved(path, [("x", sizes)], nodes, arrays, [*sizes[:-1], 2])


def test_behind_a_layer_norm_silence_is_proved_for_any_input(tmp_path):
    path = normalised(tmp_path / "m.onnx", ["N", 4])
    found = nla.certify(path, in_process=True)
    assert found.domain["kind"] == "any"
    assert found["y"].verdict.tolist() == ["certified", "refuted"]
    assert found["y"].bound[0] == pytest.approx(8**0.5 - 2.9, abs=1e-4)
    assert found["y"].bound[0] >= 8**0.5 - 2.9
    row = found.witnesses["x"][found["y"].row[1]]
    assert activations(path, "y", {"x": row[None]}, 2)[1].max() > 0


def test_a_size_that_the_model_leaves_free_is_given_and_told(tmp_path):
    path = normalised(tmp_path / "m.onnx", ["N", "T", 4])
    with pytest.raises(UsageError, match=r"--size x=1x16x4"):
        nla.certify(path, box=["0:1"], in_process=True)
    at_all = nla.certify(path, in_process=True)
    assert at_all["y"].every_size
    assert at_all["y"].verdict.tolist() == ["certified", "refuted"]
    found = nla.certify(path, size={"x": [1, 3, 4]}, in_process=True)
    assert (found.shapes, found.free_sizes) == ({"x": [1, 3, 4]}, ("x",))
    assert found["y"].every_size
    assert found["y"].verdict.tolist() == ["certified", "refuted"]
    by_data = nla.certify(path, np.ones((5, 2, 4), np.float32), domain="any", in_process=True)
    assert by_data.shapes == {"x": [1, 2, 4]}


def test_an_input_that_is_set_counts_as_that_value(tmp_path):
    make = onnx.helper.make_node
    nodes = [make("Add", ["x", "s"], ["t"]), make("Gemm", ["t", "w", "b"], ["z"]), make("Relu", ["z"], ["y"])]
    arrays = {"w": np.eye(2, dtype=np.float32), "b": np.array([-3.0, -0.5], np.float32)}
    path = saved(tmp_path / "m.onnx", [("x", ["N", 2]), ("s", ["N", 2])], nodes, arrays, ["N", 2])
    found = nla.certify(path, box="0:1", constants={"s": 1}, in_process=True)
    assert found["y"].verdict.tolist() == ["certified", "refuted"]
    assert found["y"].bound[0] == pytest.approx(-1.0, abs=1e-4)
    assert found.constants == {"s": "1"}
    wide = nla.certify(path, box=["x=0:1", "s=0:5"], in_process=True)
    assert wide["y"].verdict.tolist() == ["refuted", "refuted"]


def test_non_negative_inputs_of_any_size(tmp_path):
    make = onnx.helper.make_node
    nodes = [make("Gemm", ["x", "w", "b"], ["z"]), make("Relu", ["z"], ["y"])]
    w = np.array([[-1, -1, 1], [-2, 0, -1]], np.float32)
    arrays = {"w": w, "b": np.array([-0.1, 0.1, -5.0], np.float32)}
    path = saved(tmp_path / "m.onnx", [("x", ["N", 2])], nodes, arrays, ["N", 3])
    found = nla.certify(path, domain="non-negative", in_process=True)
    assert found["y"].verdict.tolist() == ["certified", "refuted", "refuted"]
    assert found["y"].method[0] == "interval"


def test_ranges_come_from_a_file_too(tmp_path):
    lo, hi = np.zeros(64), np.ones(64)
    np.savez(tmp_path / "r.npz", lo=lo, hi=hi)
    ask = {"method": "interval", "site": ["/fc1/Relu"], "in_process": True}
    found = nla.certify(model("external_data"), ranges=tmp_path / "r.npz", **ask)
    assert found.domain["kind"] == "file"
    assert found["/fc1/Relu"].index[found["/fc1/Relu"].verdict == "certified"].tolist() == [7, 8, 9]


def test_the_same_seed_gives_the_same_document():
    first, second = (
        nla.certify(model("external_data"), box="0:1", time_budget=None, in_process=True).to_dict()
        for _ in range(2)
    )
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_it_runs_in_a_child_process_with_limits():
    found = nla.certify(model("external_data"), box="0:1", memory_limit=4 << 30, time_limit=120)
    assert found.summary == proved("external_data").summary
