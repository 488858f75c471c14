"""Sites that a constant brings about: the branch that it decides is understood, and left as it is in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from cuts import bias, model, outputs, random

import nla
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import UsageError
from nla.manifest.document import Action, Manifest, loads
from nla.surgery.carry_out import carry_out
from nla.surgery.report import SurgeryReport

HEAD = "float[N,4] x, bool flag => float[N,3] y"
OWN = "z = Gemm(h, w2, b2)\n r = Relu(z)\n t = Gemm(r, w3, b3)"
WEIGHTS = {
    **{"w1": random(4, 8), "b1": bias(8, 1, 5)},
    **{"w2": random(8, 6), "b2": bias(6, 0, 2)},
    **{"w3": random(6, 3), "b3": bias(3), "w4": random(4, 3), "w5": random(8, 3)},
}
MAIN = "a = Gemm(x, w1, b1)\n h = Relu(a)\n"


def branched(then: str, other: str, behind: str = "y = Identity(q)") -> onnx.ModelProto:
    """A layer of eight neurons, and an If that `flag` decides; `then` and `other` make t and e."""
    heads = "g1 () => (float[N,3] t)", "g2 () => (float[N,3] e)"
    parts = f"then_branch = {heads[0]} {{{then}}}, else_branch = {heads[1]} {{{other}}}"
    body = f"{MAIN}q = If(flag) <{parts}>\n{behind}"
    read = {name for name in WEIGHTS if name in body}
    return model(HEAD, body, {name: value for name, value in WEIGHTS.items() if name in read})


def surgery(
    proto: onnx.ModelProto, folder: Path, *actions: Action, flag: str = "true"
) -> tuple[SurgeryReport, onnx.ModelProto]:
    """What was done, and the model after it, which gives the same for both flags."""
    source, target = folder / "source.onnx", folder / "edited.onnx"
    onnx.save(proto, str(source))
    edit = ModelEdit(open_onnx(source))
    report = carry_out(edit, Manifest({"constants": {"flag": flag}}, actions=actions))
    edit.write(target)
    after = onnx.load(str(target))
    onnx.checker.check_model(after, full_check=True)
    x = np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32)
    for value in (True, False):
        given = {"x": x, "flag": np.array(value)}
        for was, now in zip(outputs(proto, given), outputs(after, given), strict=True):
            np.testing.assert_allclose(now, was, atol=1e-6)
    return report, after


@pytest.mark.parametrize("kind", ["remove", "mask", "strip", "shift", "reset", "flip"])
def test_units_inside_of_the_branch_stay_with_the_reason(kind, tmp_path):
    parameters = {
        "strip": {"fraction": 0.5},
        "shift": {"delta": [1.0, 1.0], "zero_outgoing": False, "target_rate": 0.1},
        "reset": {"scheme": "he", "seed": 0, "means": [0.0, 0.0]},
    }.get(kind, {})
    units = tuple(range(6)) if kind == "flip" else (0, 2)
    report, after = surgery(
        branched(OWN, "e = Gemm(x, w4)"), tmp_path, Action("a1", kind, "r", units, parameters)
    )
    assert report.actions[0].done == ()
    assert report.stayed() == {"a1": units}
    assert all(
        "main graph" in entry.reason or "branch" in entry.reason for entry in report.actions[0].refused
    )
    assert after.graph == ModelEdit(open_onnx(tmp_path / "source.onnx")).checkpoint.proto.graph


def test_a_swap_inside_of_the_branch_is_declined(tmp_path):
    action = Action("a1", "swap", "r", tuple(range(6)), {"to": "Elu"})
    report, _ = surgery(branched(OWN, "e = Gemm(x, w4)"), tmp_path, action)
    assert report.stayed() == {"a1": action.units}


def test_units_that_the_branch_taken_reads_stay(tmp_path):
    report, _ = surgery(
        branched(OWN, "e = Gemm(x, w4)"), tmp_path, Action("a1", "remove", "h", (1, 5)), flag="1"
    )
    assert report.stayed() == {"a1": (1, 5)}
    assert "a branch" in report.actions[0].refused[0].reason


def test_units_that_only_the_branch_not_taken_reads_stay(tmp_path):
    proto = branched("t = Gemm(x, w4)", "e = Gemm(h, w5)", "k = Gemm(h, w5)\n y = Add(q, k)")
    report, _ = surgery(proto, tmp_path, Action("a1", "remove", "h", (1, 5)))
    assert report.stayed() == {"a1": (1, 5)}
    assert report.actions[0].refused[0].reason == "'h' is read in a branch of If 'If_2', where nothing is cut"


def test_beside_the_branch_units_leave(tmp_path):
    proto = branched("t = Gemm(x, w4)", "e = Neg(t0)\n t0 = Gemm(x, w4)", "k = Gemm(h, w5)\n y = Add(q, k)")
    proto.graph.node[2].attribute[1].g.node.reverse()
    report, after = surgery(proto, tmp_path, Action("a1", "remove", "h", (1, 5)))
    assert report.stayed() == {}
    assert next(list(t.dims) for t in after.graph.initializer if t.name == "w1") == [4, 6]


def test_without_the_constant_there_is_no_such_site(tmp_path):
    source = tmp_path / "source.onnx"
    onnx.save(branched(OWN, "e = Gemm(x, w4)"), str(source))
    with pytest.raises(UsageError, match="no site 'r'"):
        carry_out(ModelEdit(open_onnx(source)), Manifest({}, actions=(Action("a1", "remove", "r", (0,)),)))


@pytest.mark.parametrize(
    ("constants", "what"),
    [
        ({"gone": "1"}, "the model has no such input"),
        ({"flag": "maybe"}, "no value of type bool"),
        ({"flag": "[[1], [1, 2]]"}, "no value of type bool"),
        ({"flag": "[" * 100}, "no value of type bool"),
    ],
)
def test_constants_that_do_not_fit_are_refused_in_one_line(constants, what, tmp_path):
    source = tmp_path / "source.onnx"
    onnx.save(branched(OWN, "e = Gemm(x, w4)"), str(source))
    manifest = Manifest({"constants": constants}, actions=(Action("a1", "remove", "r", (0,)),))
    with pytest.raises(UsageError, match=what):
        carry_out(ModelEdit(open_onnx(source)), manifest)


def test_from_inspect_to_verify_a_manifest_carries_what_was_set(tmp_path):
    model_path, data = (
        tmp_path / "m.onnx",
        np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32),
    )
    onnx.save(branched(OWN, "e = Gemm(x, w4)"), str(model_path))
    run = tmp_path / "r.h5"
    nla.inspect(model_path, data, output=run, constants={"flag": True}, in_process=True)
    manifest = nla.plan(run, "prune", in_process=True)
    assert manifest.checkpoint["constants"] == {"flag": "True"}
    assert {action.site for action in manifest.actions} == {"h", "r"}
    assert loads(manifest.dumps()) == manifest
    edited = tmp_path / "e.onnx"
    report = nla.apply(manifest, model_path, edited, in_process=True)
    assert report.stayed().keys() == {action.id for action in manifest.actions}
    seen = nla.verify(model_path, edited, data, manifest=manifest, in_process=True)
    assert seen.holds


def test_a_site_that_only_the_sizes_of_the_data_bring_about_is_declined(tmp_path):
    shape = "s = Shape(x)\n d = Gather(s, one)\n flag2 = Equal(d, four)\n"
    own, other = OWN.replace("(h,", "(x,"), "k = Relu(w4)\n e = MatMul(x, k)"
    heads = "g1 () => (float[N,3] t)", "g2 () => (float[N,3] e)"
    parts = f"then_branch = {heads[0]} {{{own}}}, else_branch = {heads[1]} {{{other}}}"
    weights = {name: WEIGHTS[name] for name in ("w3", "b3", "b2", "w4")} | {"w2": random(4, 6)}
    weights |= {"one": np.array(1), "four": np.array(4)}
    proto = model("float[N,K] x => float[N,3] y", f"{shape} y = If(flag2) <{parts}>", weights)
    path, data = tmp_path / "m.onnx", np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
    onnx.save(proto, str(path))
    nla.inspect(path, data, output=tmp_path / "r.h5", in_process=True)
    manifest = nla.plan(tmp_path / "r.h5", "mask", in_process=True)
    assert manifest.shapes == {"x": [None, 4]}
    report = nla.apply(manifest, path, tmp_path / "e.onnx", in_process=True)
    assert report.stayed() == {"a1": (0, 2)}
    assert "for some sizes of the inputs alone" in report.actions[0].refused[0].reason
