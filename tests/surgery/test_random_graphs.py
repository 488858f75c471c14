"""Cutting what is dead or constant by construction changes no output, on any data."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from random_graphs import Random, random_network

import nla

SEEDS = [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 20))]
TOLERANCE = 1e-5


@pytest.fixture(params=SEEDS)
def network(request) -> Random:
    return random_network(request.param)


@pytest.fixture
def source(network, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(network.model.SerializeToString())
    return path


def run(path, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options).run(None, {"x": x})[0].astype(np.float64)


def planned(network, source, tmp_path, policy):
    recording = tmp_path / "run.h5"
    nla.inspect(source, network.x, output=recording, in_process=True, kernel="numpy")
    return nla.plan(recording, policy, in_process=True)


def apart(one, other):
    """Largest difference, relative to the output's size where that is above one."""
    return float(np.max(np.abs(one - other)) / max(1.0, np.max(np.abs(one))))


def fresh(network):
    """Data that planning has not seen: what is dead by its parameters is dead here too."""
    return np.random.default_rng(99).normal(size=network.x.shape).astype(np.float32)


def parameters(path):
    return sum(int(np.prod(w.dims)) for w in onnx.load(str(path)).graph.initializer)


def shapes(path):
    return {w.name: tuple(w.dims) for w in onnx.load(str(path)).graph.initializer}


def by_construction(network, manifest):
    """The manifest without what the data alone showed dead: only that holds on other data too."""
    kept = []
    for action in manifest.actions:
        planted = network.planted.get(action.site)
        known = set() if planted is None else {*planted.dead, *planted.constant}
        if set(action.units) <= known:
            kept.append(action)
    return kept


def test_cutting_changes_no_output(network, source, tmp_path):
    manifest = planned(network, source, tmp_path, "prune")
    out = tmp_path / "cut.onnx"
    report = nla.apply(manifest, source, out, in_process=True)
    assert apart(run(source, network.x), run(out, network.x)) <= TOLERANCE
    if len(by_construction(network, manifest)) == len(manifest.actions):
        x = fresh(network)
        assert apart(run(source, x), run(out, x)) <= TOLERANCE
    onnx.checker.check_model(str(out), full_check=True)
    done = any(result.done for result in report.actions)
    assert (parameters(out) < parameters(source)) == done


def test_what_is_left_dead_was_declined(network, source, tmp_path):
    manifest = planned(network, source, tmp_path, "prune")
    out = tmp_path / "cut.onnx"
    report = nla.apply(manifest, source, out, in_process=True)
    declined = sum(len(d.units) for d in manifest.declined)
    declined += sum(len(refused.units) for result in report.actions for refused in result.refused)
    again = nla.inspect(out, network.x, in_process=True, kernel="numpy")
    left = sum(int(np.isin(r.states, ("dead", "constant")).sum()) for r in again.sites)
    assert left <= declined


def test_mask_and_remove_agree(network, source, tmp_path):
    masked, cut = tmp_path / "masked.onnx", tmp_path / "cut.onnx"
    nla.apply(planned(network, source, tmp_path, "mask"), source, masked, in_process=True)
    nla.apply(planned(network, source, tmp_path, "remove"), source, cut, in_process=True)
    assert apart(run(masked, network.x), run(cut, network.x)) <= TOLERANCE
    assert shapes(source).items() <= shapes(masked).items()


@pytest.mark.parametrize("policy", ["prune", "mask", "strip", "reset"])
def test_undo_restores_every_weight(network, source, tmp_path, policy):
    manifest = planned(network, source, tmp_path, policy)
    out, undo, back = tmp_path / "out.onnx", tmp_path / "undo.safetensors", tmp_path / "back.onnx"
    nla.apply(manifest, source, out, record_undo=undo, in_process=True)
    nla.undo(undo, out, back, in_process=True)
    one, other = (onnx.load(str(path)).graph for path in (source, back))
    assert [w.name for w in one.initializer] == [w.name for w in other.initializer]
    for a, b in zip(one.initializer, other.initializer, strict=True):
        assert numpy_helper.to_array(a).tobytes() == numpy_helper.to_array(b).tobytes()
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_weights_and_cuts_in_one_manifest(network, source, tmp_path):
    manifest = planned(network, source, tmp_path, ["reset", "fold", "merge"])
    out = tmp_path / "out.onnx"
    report = nla.apply(manifest, source, out, in_process=True)
    if all(
        action.effect["exact"] for action in manifest.actions
    ):  # what was not silent is reset approximately
        assert apart(run(source, network.x), run(out, network.x)) <= TOLERANCE
    reasons = [refused.reason for result in report.actions for refused in result.refused]
    assert not [reason for reason in reasons if "inside a function" in reason]
