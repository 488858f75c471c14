"""What layers read over data, and the radius around a hull: held against onnxruntime and numpy."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nla
from nla.certificates.layers import layer
from nla.certificates.reading import read
from nla.certificates.results import Certificates, rounded_down, site_of
from nla.certifying.confirming import Confirming
from nla.errors import DataError, UsageError
from nla.rendering.certificates import print_certificates
from nla.rendering.terminal import console

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "sample_models" / "external_data" / "model.onnx"
SCHEMA = json.loads((ROOT / "schemas" / "certificate-1.schema.json").read_text())
RNG = np.random.default_rng(7)
X = RNG.uniform(-1, 1, (40, 4)).astype(np.float32)
W1, W2 = RNG.normal(size=(4, 6)).astype(np.float32), RNG.normal(size=(6, 5)).astype(np.float32)
B1, B2 = RNG.normal(size=6).astype(np.float32), np.float32([-9, -1, 0, 1, -0.5])
make = helper.make_node
TWO_LAYERS = [
    make("Gemm", ["x", "w1", "b1"], ["z1"]),
    make("Relu", ["z1"], ["a1"]),
    make("MatMul", ["a1", "w2"], ["v2"]),
    make("Add", ["v2", "b2"], ["z2"]),
    make("Relu", ["z2"], ["y"]),
]
WEIGHTS = {"w1": W1, "b1": B1, "w2": W2, "b2": B2}


def saved(path: Path, nodes: list, weights: dict[str, np.ndarray], width: int = 5) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "made",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def values(path: Path, names: list[str], x: np.ndarray) -> list[np.ndarray]:
    loaded = onnx.load(path)
    del loaded.graph.output[:]
    loaded.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"x": x})


def largest(weight: np.ndarray, bias: np.ndarray, read: np.ndarray) -> np.ndarray:
    """z at most, for the box of what is read; [inputs, outputs] weight."""
    w = weight.astype(float)
    low, high = read.min(axis=0).astype(float), read.max(axis=0).astype(float)
    return high @ np.maximum(w, 0) + low @ np.minimum(w, 0) + bias


def test_the_box_is_of_what_the_layer_reads_and_the_bound_is_sharp_over_it(tmp_path):
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, WEIGHTS)
    found = nla.certify(path, X, domain="observed", in_process=True)
    a1, z2 = values(path, ["a1", "z2"], X)
    stated = {each["tensor"]: each for each in found.domain["inputs"]}
    assert {name: each["sites"] for name, each in stated.items()} == {"x": ["a1"], "a1": ["y"]}
    assert (stated["a1"]["low"], stated["a1"]["high"]) == (float(a1.min()), float(a1.max()))
    for site, exact in (("a1", largest(W1, B1, X)), ("y", largest(W2, B2, a1))):
        assert (found[site].bound >= exact).all()
        assert found[site].bound == pytest.approx(exact, abs=1e-4)
    awake = z2.max(axis=0) > 0
    assert (found["y"].verdict == "refuted").tolist() == awake.tolist()
    assert found["y"].verdict[0] == "certified"
    assert set(found["y"].found[awake]) == {"data"}
    for k in np.flatnonzero(awake):
        assert z2[found["y"].sample[k], k] == pytest.approx(found["y"].z[k], abs=1e-5)


def test_values_that_only_the_box_holds_refute_nothing():
    """Over the data's range the two dead of the second layer are woken; no sample wakes them."""
    data = ROOT / "sample_models" / "external_data" / "data.npz"
    found = nla.certify(MODEL, data, domain="observed", limit=300, in_process=True)
    assert set(found["/fc2/Relu"].found) <= {"", "data"}
    reasons = {reason for site in found.sites for reason in site.reason if reason}
    assert all("no sample wakes it" in reason for reason in reasons)
    assert found.summary["undecided"] > 0


def test_a_margin_widens_what_was_seen(tmp_path):
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, WEIGHTS)
    near, far = (
        nla.certify(path, X, domain="observed", margin=margin, in_process=True) for margin in (0.0, 0.25)
    )
    grown = 0.25 * np.abs(W2).sum(axis=0)
    assert far["y"].bound - near["y"].bound == pytest.approx(grown, abs=1e-4)
    assert "0.25 wider on both sides" in far.words


def test_a_site_behind_an_operator_without_a_rule_is_decided_by_what_its_layer_reads(tmp_path):
    nodes = [make("Tan", ["x"], ["c"]), *TWO_LAYERS]
    nodes[1] = make("Gemm", ["c", "w1", "b1"], ["z1"])
    path = saved(tmp_path / "m.onnx", nodes, WEIGHTS)
    by_box = nla.certify(path, box="-1:1", in_process=True)
    assert [each.name for each in by_box.undecidable] == ["a1", "y"]
    found = nla.certify(path, X, domain="observed", in_process=True)
    assert not found.undecidable
    assert found["a1"].bound == pytest.approx(largest(W1, B1, np.tan(X)), abs=1e-4)


def test_a_skip_connection_is_read_as_it_is(tmp_path):
    weights = {**WEIGHTS, "w2": RNG.normal(size=(6, 6)).astype(np.float32), "b2": B1}
    nodes = [*TWO_LAYERS[:3], make("Add", ["v2", "b2"], ["u2"]), make("Add", ["u2", "a1"], ["z2"])]
    path = saved(tmp_path / "m.onnx", [*nodes, make("Relu", ["z2"], ["y"])], weights, 6)
    found = nla.certify(path, X, domain="observed", site="y", in_process=True)
    assert [(each["tensor"], each["sites"]) for each in found.domain["inputs"]] == [("a1", ["y"])]
    (a1,) = values(path, ["a1"], X)
    exact = largest(weights["w2"] + np.eye(6), B1, a1)  # both branches read the same values
    loose = largest(weights["w2"], B1, a1) + a1.max(axis=0)
    assert (found["y"].bound >= exact - 1e-5).all()
    assert (found["y"].bound <= loose + 1e-4).all()


def test_z_follows_from_what_layers_read_alone(monkeypatch):
    """On a convolutional network with a skip connection: recomputed from these tensors it is onnxruntime's z."""
    far = []
    seen = Confirming.seen

    def spy(self, values):
        for target in self._targets:
            cut = layer(self._network, target)
            assert not cut.given
            read = {name: values[name].reshape(1, *shape) for name, shape in cut.inputs.items()}
            z = cut.forward(read, [target.pre])[target.pre]
            far.append(np.abs(z.ravel() - values[target.pre].ravel()).max())
        return seen(self, values)

    monkeypatch.setattr(Confirming, "seen", spy)
    folder = ROOT / "sample_models" / "cnn_residual"
    found = nla.certify(
        folder / "model.onnx", folder / "data.npz", domain="observed", limit=3, in_process=True
    )
    assert len(far) == 9
    assert max(far) < 1e-4
    read = {each["tensor"]: each["sites"] for each in found.domain["inputs"]}
    assert read["/stem/Relu"] == ["/block/relu1/Relu", "/block/relu2/Relu"]


def test_integers_are_not_spoken_of():
    folder = ROOT / "sample_models" / "qdq_int8"
    found = nla.certify(
        folder / "model.onnx", folder / "data.npz", domain="observed", limit=3, in_process=True
    )
    assert not found.sites
    assert all("uantizeLinear" in each.reason for each in found.undecidable)


@pytest.mark.parametrize(
    "more", [{"domain": "observed"}, {"domain": "hull", "margin": 0.01}, {"domain": "data"}]
)
def test_documents_of_domains_of_data_keep_to_the_schema_and_read_back(tmp_path, more):
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, WEIGHTS)
    found = nla.certify(path, X, output=tmp_path / "c.json", time_budget=2, in_process=True, **more)
    jsonschema.validate(json.loads((tmp_path / "c.json").read_text()), SCHEMA)
    again = read(tmp_path / "c.json")
    assert again.about() == found.about()
    for one, other in zip(again.sites, found.sites, strict=True):
        assert np.array_equal(one.radius, other.radius, equal_nan=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": None}, "give --data"),
        ({"box": "0:1"}, "takes no --box"),
        ({"ranges": "r.npz"}, "takes no --ranges"),
        ({"data": np.full((3, 4), np.nan, np.float32)}, "has nan"),
        ({"margin": np.nan}, "margin is nan"),
    ],
)
def test_what_does_not_belong_to_it_is_refused(tmp_path, given, said):
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, WEIGHTS)
    with pytest.raises((UsageError, DataError), match=said):
        nla.certify(path, **{"data": X, "domain": "observed", "in_process": True, **given})


def test_zeros_of_either_sign_are_one_number(tmp_path):
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, WEIGHTS)
    x = np.float32([[0.0, -0.0, 0.0, -0.0], [1, 1, 1, 1]])
    nla.certify(path, x, method="interval", output=tmp_path / "c.json", in_process=True)
    stated = read(tmp_path / "c.json").domain["inputs"][0]
    assert (stated["uniform"], stated["text"][-6:]) == (True, "0 to 1")


# --- the radius around the hull


def silent(weights: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The first layer with biases under which z is at most -1, -0.5, … on the data; and −max z/‖w‖₁."""
    below = np.array([1, 0.5, 0.1, 1e-3, -0.2, 2])
    z = X.astype(float) @ W1
    bias = (-z.max(axis=0) - below).astype(np.float32)
    return {**weights, "b1": bias}, -(z + bias).max(axis=0) / np.abs(W1.astype(float)).sum(axis=0)


def test_neurons_of_the_first_layer_bear_the_radius_of_the_closed_form(tmp_path):
    weights, exact = silent(WEIGHTS)
    path = saved(tmp_path / "m.onnx", TWO_LAYERS, weights)
    found = nla.certify(path, X, domain="hull", method="interval,linear", time_budget=5, in_process=True)
    site = found["a1"]
    certified = site.verdict == "certified"
    assert certified.tolist() == [True, True, True, True, False, True]
    assert np.isnan(site.radius[~certified]).all()
    assert (site.radius[certified] <= exact[certified]).all()
    assert site.radius[certified] == pytest.approx(exact[certified], rel=1e-3, abs=1e-5)
    assert np.isnan(found["y"].radius).all()
    for k in np.flatnonzero(certified):
        worst = X[(X @ W1 + weights["b1"])[:, k].argmax()].astype(float)
        for far, wakes in ((0.999, False), (1.01, True)):
            x = (worst + far * exact[k] * np.sign(W1[:, k])).astype(np.float32)
            (z,) = values(path, ["z1"], x[None])
            assert (z[0, k] > 0) == wakes
    rows = {row["index"]: row for row in found.to_dict()["sites"][0]["rows"]}
    assert rows[0]["radius"] == site.radius[0]
    assert "radius" not in rows[4]
    said = io.StringIO()
    print_certificates(found, console(said, 100))
    assert f"by linear, radius {rounded_down(site.radius[0])}" in said.getvalue()


def test_of_two_inputs_each_is_anywhere_in_its_own_hull(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [make("Concat", ["p", "q"], ["x"], axis=1), *TWO_LAYERS[:2]]
    graph = helper.make_graph(
        nodes,
        "two",
        [value("p", TensorProto.FLOAT, ["n", 2]), value("q", TensorProto.FLOAT, ["n", 2])],
        [value("a1", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(W1, "w1"), numpy_helper.from_array(B1 - 9, "b1")],
    )
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    halves = {"p": X[:, :2], "q": X[:, 2:]}
    found = nla.certify(path, halves, domain="hull", method="linear", time_budget=5, in_process=True)["a1"]
    w = W1.astype(float)
    most = (X[:, :2] @ w[:2]).max(axis=0) + (X[:, 2:] @ w[2:]).max(axis=0) + B1 - 9
    exact = -most / np.abs(w).sum(axis=0)
    assert (exact > 0).any()
    assert (found.radius[exact > 0] <= exact[exact > 0]).all()
    assert found.radius[exact > 0] == pytest.approx(exact[exact > 0], abs=1e-4)


def test_three_hundred_sites_are_told_in_forty_rows():
    about = {"activation": "Relu", "neurons": 2, "threshold": 0.0, "plateau": 0.0}
    sites = tuple(
        site_of(
            {"name": f"/block.{k}/{'deep/' * 20}Relu", **about},
            [0, 1],
            ["certified" if k == 250 else "refuted", "refuted"],
            bound=[-1.0, 1.0],
            z=[np.nan if k == 250 else 0.5, 0.5],
            found=["" if k == 250 else "data", "data"],
        )
        for k in range(300)
    )
    domain = {"kind": "any", "assumes": "any input", "inputs": []}
    found = Certificates({"path": "m.onnx", "digest": "0" * 64}, domain, ("interval",), 2.0**-24, sites)
    few, every = io.StringIO(), io.StringIO()
    print_certificates(found, console(few, 100))
    print_certificates(found, console(every, 100), every=True)
    lines = few.getvalue().splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= 100
    assert "  and 260 sites more: --all lists every one" in lines
    assert "300 sites" in few.getvalue()
    assert sum("/block.250" in line for line in lines) == 2
    assert len(every.getvalue().splitlines()) > 900
