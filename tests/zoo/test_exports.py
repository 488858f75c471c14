"""`nla.sites` and `nla.inspect` on what exporters write, against a person's list and plain onnxruntime."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs_exported import LISTED, RUNNABLE, SAMPLES, Expected, Export
from numpy.typing import NDArray
from site_graphs import model

import nla

Floats = NDArray[np.float64]
NEAR = 1e-6
"""Activations nearer to zero than this may fire in one batch and not in another: their rounding differs."""


@cache
def made(name: str) -> Export:
    return {**RUNNABLE, **LISTED}[name]()


@pytest.fixture
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    place = tmp_path / "model.onnx"
    onnx.save(made(request.node.callspec.params["name"]).model, place)
    return place


def one_by_one(export: Export) -> dict[str, list[Floats]]:
    """[positions, neurons] of every site for each sample, run alone."""
    proto = onnx.ModelProto.FromString(export.model.SerializeToString())
    have = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=s.name) for s in export.sites if s.name not in have)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [site.name for site in export.sites]
    values: dict[str, list[Floats]] = {name: [] for name in names}
    for i in range(SAMPLES):
        feed = {name: value[i : i + 1] for name, value in export.feeds().items()}
        for site, tensor in zip(export.sites, session.run(names, feed), strict=True):
            values[site.name].append(positions(tensor.astype(np.float64), site))
    return values


def positions(tensor: Floats, site: Expected) -> Floats:
    axes = site.axis if isinstance(site.axis, tuple) else (site.axis,)
    moved = np.moveaxis(tensor, axes, range(-len(axes), 0))
    rows = moved.reshape(-1, site.neurons * site.unit_size)
    if site.unit_size == 1:
        return rows
    return np.asarray(np.linalg.norm(rows.reshape(len(rows), site.neurons, site.unit_size), axis=-1))


@pytest.mark.parametrize("name", [*RUNNABLE, *LISTED])
def test_the_sites_are_those_a_person_finds(name: str, path: Path) -> None:
    survey, export = nla.sites(path, in_process=True), made(name)
    found = [(s.name, s.role, s.activation.name, s.neurons, s.unit_size) for s in survey.sites]
    assert found == [(s.name, s.role, s.activation, s.neurons, s.unit_size) for s in export.sites]
    assert tuple(place.name for place in survey.not_understood) == export.listed


@pytest.mark.parametrize("name", RUNNABLE)
def test_counts_are_those_of_samples_run_one_by_one(name: str, path: Path) -> None:
    export = made(name)
    inspection = nla.inspect(path, export.feeds(), in_process=True, threads=1)
    assert bool(inspection.replay["one_by_one"]) == export.one_by_one
    for site_name, samples in one_by_one(export).items():
        got, a = inspection[site_name].measurements, np.concatenate(samples)
        assert (got.samples, got.positions) == (SAMPLES, len(a))
        unsure = (np.abs(a) < NEAR).sum(0) * (np.abs(a) > 0).any(0)
        if inspection[site_name].site.activation.positive_threshold == 0:
            assert (np.abs(got.positive - (a > 0).sum(0)) <= unsure).all()
            fired = np.array([(sample > 0).any(0) for sample in samples]).sum(0)
            assert (np.abs(got.fired_samples - fired) <= unsure).all()
        for measured, value in (
            (got.mean, a.mean(0)),
            (got.min, a.min(0)),
            (got.max, a.max(0)),
            (got.std, a.std(0)),
        ):
            np.testing.assert_allclose(measured, value, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(a).max()))


def test_what_follows_an_unknown_operator_with_weights_names_it(tmp_path: Path) -> None:
    onnx.save(made("unknown_operators").model, tmp_path / "model.onnx")
    reasons = {p.name: p.reason for p in nla.sites(tmp_path / "model.onnx", in_process=True).not_understood}
    assert "ONNX does not have" in reasons["e"]
    assert "domain 'other' that nla does not know" in reasons["n"]
    assert "other.BlockedConv" in reasons["r"]


def test_a_model_without_activations_says_what_it_is_made_of_and_what_to_do(tmp_path: Path) -> None:
    proto = model("float[N,5] x => float[] y", "z = MatMul(x, w)\ny = Softmax(z)", {"w": (5, 3)})
    onnx.save(proto, tmp_path / "model.onnx")
    x = np.ones((4, 5), np.float32)
    with pytest.raises(nla.ModelError, match=r"no layer of neurons.*MatMul, Softmax.*--include linear"):
        nla.inspect(tmp_path / "model.onnx", x, in_process=True)
    inspection = nla.inspect(tmp_path / "model.onnx", x, include=["linear"], in_process=True)
    assert [result.name for result in inspection.sites] == ["z"]
