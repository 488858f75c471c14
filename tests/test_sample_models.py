"""The sample models: their expected verdicts are true, and nla's verdict is the expected one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest

ROOT = Path(__file__).resolve().parents[1] / "sample_models"
STORIES = sorted(path.stem for path in (ROOT / "expected").glob("*.json"))
STATES = ("dead", "constant", "saturated", "dormant")
TANH_FLAT = np.sqrt(0.99)

needs_api = pytest.mark.skipif(
    importlib.util.find_spec("nla.api") is None, reason="nla.api is not written yet"
)


def expected(story: str) -> dict[str, Any]:
    """The committed expectation."""
    document: dict[str, Any] = json.loads((ROOT / "expected" / f"{story}.json").read_text())
    return document


def data(story: str) -> dict[str, np.ndarray]:
    """The committed calibration data."""
    with np.load(ROOT / story / "data.npz") as archive:
        return dict(archive)


def observe(story: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of every expected site, by plain onnxruntime: a [samples, positions, neurons] and what is counted."""
    feeds, sites = data(story), expected(story)["sites"]
    model = onnx.load(ROOT / story / "model.onnx")
    inputs = {i.name for i in model.graph.input}
    values = oracle.replay(
        ROOT / story / "model.onnx",
        {name: array for name, array in feeds.items() if name in inputs},
        [site["name"] for site in sites],
        sample_axes={site["name"]: site["sample_axis"] for site in sites},
        one_by_one=story == "fixed_batch",
    )
    seen = {}
    for site in sites:
        axis = -1 if site["channel_axis"] > 1 else 1
        a = oracle.by_position(values[site["name"]], axis, site["samples"], site["unit_size"])
        counted = feeds["attention_mask"] > 0 if "attention_mask" in feeds else oracle.everywhere(a)
        seen[site["name"]] = a, counted
    return seen


def test_every_story_of_the_readme_is_there_and_small() -> None:
    folders = sorted(path.parent.name for path in ROOT.glob("*/model.onnx"))
    assert folders == STORIES
    listed = (ROOT / "README.md").read_text()
    assert all(f"`{story}`" in listed for story in STORIES)
    committed = [p for p in ROOT.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in committed) < 3e6


@pytest.mark.parametrize("story", STORIES)
def test_model_is_valid_and_the_data_bears_its_input_names(story: str) -> None:
    onnx.checker.check_model(ROOT / story / "model.onnx", full_check=True)
    model, arrays = onnx.load(ROOT / story / "model.onnx"), data(story)
    assert {i.name for i in model.graph.input} <= set(arrays)
    assert set(arrays) == {i.name for i in model.graph.input} | {"y"}
    assert len({len(array) for array in arrays.values()}) == 1


@pytest.mark.parametrize("story", STORIES)
def test_expected_file_is_consistent_and_names_its_source(story: str) -> None:
    want = expected(story)
    assert "numpy float64" in want["provenance"]
    samples = len(data(story)["y"])
    for site in want["sites"]:
        units = [set(site["units"][state]) for state in STATES]
        assert sum(map(len, units)) == len(set().union(*units))  # one state each
        assert site["counts"] == {state: len(set(site["units"][state])) for state in STATES}
        assert len(site["positive"]) == len(site["fired_samples"]) == site["neurons"]
        assert site["samples"] == samples <= site["positions"]
        for state, planted in site["planted"].items():
            assert set(planted) <= set(site["units"][state])


@pytest.mark.parametrize("story", STORIES)
def test_expected_counts_are_those_of_plain_onnxruntime(story: str) -> None:
    seen = observe(story)
    for site in expected(story)["sites"]:
        a, counted = seen[site["name"]]
        assert counted.sum() == site["positions"]
        sure = is_sure(site)
        assert np.array_equal(oracle.positive(a, counted)[sure], np.array(site["positive"])[sure])
        assert np.array_equal(oracle.fired_samples(a, counted)[sure], np.array(site["fired_samples"])[sure])


def is_sure(site: dict[str, Any]) -> np.ndarray:
    """[neurons] False where a dead unit is tiny, not zero: there the sign is an accident of rounding."""
    largest = np.abs([site["max"], site["mean_abs"]]).max(0)
    return np.asarray((largest == 0) | (largest > 1e-6))


@pytest.mark.parametrize("story", STORIES)
def test_expected_magnitudes_are_those_of_plain_onnxruntime(story: str) -> None:
    seen, want = observe(story), expected(story)
    for site in want["sites"]:
        got = oracle.moments(*seen[site["name"]])
        scale = max(np.abs(site["max"]).max(), 1e-3)
        tolerance = want.get("relative_tolerance", 2e-5)
        for name in ("mean_abs", "max"):
            assert np.allclose(got[name], site[name], rtol=tolerance, atol=tolerance * scale), (
                site["name"],
                name,
            )


@pytest.mark.parametrize("story", STORIES)
def test_expected_states_follow_from_the_definitions(story: str) -> None:
    seen = observe(story)
    for site in expected(story)["sites"]:
        a, counted = seen[site["name"]]
        assert states_by_definition(a, counted, site["activation"]) == site["units"], site["name"]


def states_by_definition(a: np.ndarray, counted: np.ndarray, activation: str) -> dict[str, list[int]]:
    """design.md, section 2, on float32 activations: one state each, in its order."""
    got = oracle.moments(a, counted)
    extent = got["max"] - got["min"]
    dead = np.maximum(np.abs(got["max"]), np.abs(got["min"])) <= (0 if activation == "Relu" else 1e-6)
    constant = ~dead & (extent <= 1e-6)
    share = (np.abs(a[counted]) >= TANH_FLAT).mean(0) if activation == "Tanh" else np.zeros_like(extent)
    saturated = ~dead & ~constant & (share >= 0.99)
    dormant = ~dead & ~constant & ~saturated & (oracle.dormancy_score(a, counted) <= 0.025)
    members = zip(STATES, (dead, constant, saturated, dormant), strict=True)
    return {state: np.flatnonzero(mask).tolist() for state, mask in members}


@pytest.mark.parametrize("story", STORIES)
def test_expected_accuracy_is_that_of_the_model(story: str) -> None:
    want, arrays = expected(story), data(story)
    inputs = [i.name for i in onnx.load(ROOT / story / "model.onnx").graph.input]
    path, feeds = ROOT / story / "model.onnx", {name: arrays[name] for name in inputs}
    logits = oracle.replay(path, feeds, ["logits"], one_by_one=story == "fixed_batch")["logits"]
    right = logits.argmax(1) == arrays["y"]
    parts = {"trained_on": right[: want["trained_on"]], "unseen": right[want["trained_on"] :]}
    for name, share in want["accuracy"].items():
        assert parts[name].mean() == pytest.approx(share, abs=0.006)


def test_dying_relu_tells_its_story() -> None:
    dying, healthy = expected("dying_relu"), expected("healthy")
    assert dying["accuracy"]["unseen"] > 0.9
    assert dying["sites"][0]["counts"]["dead"] > 0.8 * dying["sites"][0]["neurons"]
    dead = [sum(site["counts"]["dead"] for site in story["sites"]) for story in (dying, healthy)]
    assert dead[0] > 5 * dead[1]


def test_padding_would_wake_a_gate_of_the_gated_block() -> None:
    a, counted = observe("gated_block")["/mlp/Mul"]
    unit = 21
    assert np.abs(a[counted][:, unit]).max() < 1e-6
    assert np.abs(a[~counted][:, unit]).max() > 0.1


@needs_api
@pytest.mark.parametrize("story", STORIES)
def test_nla_gives_the_expected_verdict(story: str) -> None:
    import nla

    mask = "attention_mask" if story == "gated_block" else None
    inspection = nla.inspect(ROOT / story / "model.onnx", data=ROOT / story / "data.npz", mask=mask)
    want = {site["name"]: site for site in expected(story)["sites"]}
    assert {result.name for result in inspection.sites} == set(want)
    for result in inspection.sites:
        assert_site(result, want[result.name])


def assert_site(result: Any, want: dict[str, Any]) -> None:
    """Layout, counts and states of one site."""
    site, measured = result.site, result.measurements
    assert (site.role, site.neurons, site.channel_axis) == (
        want["role"],
        want["neurons"],
        want["channel_axis"],
    )
    assert site.activation.name == want["activation"]
    assert (measured.samples, measured.positions) == (want["samples"], want["positions"])
    sure = is_sure(want)
    assert np.array_equal(measured.positive[sure], np.array(want["positive"])[sure])
    assert np.array_equal(measured.fired_samples[sure], np.array(want["fired_samples"])[sure])
    for state in STATES:
        assert np.flatnonzero(result.states == state).tolist() == want["units"][state], (result.name, state)
        assert result.counts[state] == want["counts"][state]


@needs_api
def test_a_held_out_split_wakes_a_few_of_the_dead_of_dying_relu() -> None:
    import nla

    folder = ROOT / "dying_relu"
    inspection = nla.inspect(folder / "model.onnx", data=folder / "data.npz", held_out=0.2)
    woken = sum(
        int((result.columns["held_out_fired"][result.states == "dead"] > 0).sum())
        for result in inspection.sites
    )
    assert 1 <= woken <= 10
