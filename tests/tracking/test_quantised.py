"""What quantisation did, against the activations of both models in plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import quantised_twins as twins
from compared_runs import run, site
from jsonschema import Draft202012Validator

import nla
from nla.tracking.difference import difference
from nla.tracking.grids import grid_of

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas/difference-1.schema.json").read_text())
)
LOST = 0.0015
"""So small are the activations of one neuron that they round to zero on the grid of its site."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("twins") / "float.onnx"
    onnx.save(twins.model(twins.weights(LOST)), path)
    return path


@pytest.mark.parametrize(("form", "reach"), [("QDQ", 1.0), ("QDQ", 0.6), ("QOperator", 0.6)])
def test_what_an_int8_twin_killed_clipped_and_flattened_is_what_numpy_sees(source, tmp_path, form, reach):
    x, path = twins.data(), tmp_path / "int8.onnx"
    twins.quantise(source, path, form, x * np.float32(reach))
    seen = nla.diff(source, path, x, in_process=True)

    floats = twins.float_activations(twins.weights(LOST), x)
    integers, grids = twins.quantised_activations(path, x)
    assert seen.quantisation is not None
    assert seen.quantisation.kind == "integer"
    for name, found in zip(twins.SITES, seen.quantisation.sites, strict=True):
        one, other = floats[name].max(0), integers[name].max(0)
        step, top = grids[name]
        killed = np.flatnonzero((one > 0) & (other == 0))
        assert found.killed.tolist() == killed.tolist()
        assert found.below_resolution.tolist() == [i for i in killed if one[i] < step / 2]
        assert found.woken.tolist() == np.flatnonzero((one == 0) & (other > 0)).tolist()
        clipped = np.flatnonzero((one > top + step / 2) & (other == top))
        assert found.clipped is not None
        assert found.clipped.tolist() == clipped.tolist()
        flat = [np.ptp(a, axis=0) == 0 for a in (floats[name], integers[name])]
        constant = flat[1] & (other > 0) & ~(flat[0] & (one > 0))
        assert found.made_constant.tolist() == np.flatnonzero(constant).tolist()
        assert found.grid is not None
        assert found.grid.step == pytest.approx(step, rel=1e-5)
    totals = seen.quantisation.summary
    assert totals["killed"] >= 1
    assert totals["below_resolution"] >= 1
    assert (totals["clipped"] or 0) >= 1 if reach < 1 else totals["clipped"] == 0
    assert "Quantisation to integers killed" in seen.quantisation.sentence
    SCHEMA.validate(seen.to_dict())


def test_a_float16_twin_is_known_by_its_values(source, tmp_path):
    x = twins.data(200).astype(np.float16).astype(np.float32)
    made = twins.weights(1.0)
    made["w0"][:, 7] *= np.float32(3e4)  # beyond 65,504: infinite in float16
    onnx.save(twins.model(made), tmp_path / "float.onnx")
    onnx.save(twins.model(made, dtype=np.float16), tmp_path / "half.onnx")
    seen = nla.diff(tmp_path / "float.onnx", tmp_path / "half.onnx", x, in_process=True)
    assert seen.quantisation is not None
    assert seen.quantisation.kind == "float16"
    first = seen.quantisation.sites[0]
    assert first.overflowed.tolist() == [7]
    assert first.clipped is not None
    assert len(first.clipped) == 0
    assert "made 1 overflow" in seen.quantisation.sentence
    SCHEMA.validate(seen.to_dict())


def test_two_float_networks_are_no_twins_unless_that_is_said(source):
    x = twins.data(50)
    one = nla.inspect(source, x, in_process=True)
    assert nla.diff(one, one).quantisation is None
    said = nla.diff(one, one, quantised=True).quantisation
    assert said is not None
    assert said.kind == "unknown"
    assert said.summary["clipped"] is None
    assert said.sentence.startswith(
        "Quantisation killed none of 28 neurons, made none constant and woke none;"
    )


def test_a_twin_with_itself_is_no_twin(source, tmp_path):
    x, path = twins.data(100), tmp_path / "int8.onnx"
    twins.quantise(source, path, "QDQ", x)
    twin = nla.inspect(path, x, in_process=True)
    assert nla.diff(twin, twin).quantisation is None


@pytest.mark.parametrize(
    ("tops", "clipped"),
    [
        ([127.0, 127.0, 50.0, 3.0], [0, 1]),  # the top of int8: known to be the end
        ([127.0, 90.0, 50.0, 3.0], [0]),
        ([100.0, 100.0, 50.0, 3.0], [0, 1]),  # no type ends there, but two stand at it
        ([100.0, 90.0, 50.0, 3.0], []),  # one alone may have been moved there
    ],
)
def test_clipping_is_told_only_where_the_end_of_the_range_is_known(tops, clipped):
    states, low = ["active"] * 6, np.zeros(6)
    before = site("p", states, min=low, max=np.array([131.3, 128.7, 50.2, 3.4, 7.1, 19.3]) * 0.1)
    after = site("p", states, min=low, max=np.array([*tops, 7.0, 19.0]) * 0.1)
    seen = difference(run("a", before), run("b", after)).quantisation
    assert seen is not None
    assert seen.sites[0].clipped is not None
    assert seen.sites[0].clipped.tolist() == clipped


def test_clipping_at_the_bottom_is_told_too():
    before = site("p", ["active"] * 4, min=[-1.53, -0.3, -0.2, -0.1], max=[1.27013, 0.3123, 0.2, 0.1])
    after = site("p", ["active"] * 4, min=[-1.28, -0.3, -0.2, -0.1], max=[1.27, 0.31, 0.2, 0.1])
    seen = difference(run("a", before), run("b", after)).quantisation
    assert seen is not None
    assert seen.sites[0].clipped is not None
    assert seen.sites[0].clipped.tolist() == [0]


def test_bytes_for_each_parameter_tell_where_activations_do_not():
    sites = [site("p", ["active", "dead"])], [site("p", ["dead", "dead"])]
    before = run("a", *sites[0], checkpoint={"bytes": 4_100, "parameters": 1000})
    after = run("b", *sites[1], checkpoint={"bytes": 1_400, "parameters": 1000})
    seen = difference(before, after).quantisation
    assert seen is not None
    assert seen.seen_by == ("1.4 bytes for each parameter, and 4.1 before",)
    assert seen.summary["killed"] == 1
    assert seen.summary["clipped"] is None
    assert "cannot be seen" in seen.sentence
    assert difference(after, before).quantisation is None


@pytest.mark.parametrize("step", [0.0135658, 3.0, 1e-5])
@pytest.mark.parametrize("seed", range(5))
def test_the_step_of_a_grid_is_found_in_float32(step, seed):
    rng = np.random.default_rng(seed)
    values = (rng.integers(1, 256, 40) * np.float32(step)).astype(np.float32).astype(np.float64)
    grid = grid_of(np.zeros(40), values)
    assert grid is not None
    assert grid.kind == "integer"
    assert grid.step == pytest.approx(step, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("neurons", [4, 8, 256])
def test_ordinary_floats_lie_on_no_grid(seed, neurons):
    values = np.random.default_rng(seed).gamma(2, 1, neurons).astype(np.float32).astype(np.float64)
    assert grid_of(np.zeros(neurons), values) is None


def test_one_huge_value_makes_no_grid_of_the_others():
    assert grid_of(np.zeros(6), np.array([1.257, 3.104, 2.965, 2.799, 5.612, 70_418.7])) is None


def test_float_grids_are_told_apart():
    values = np.random.default_rng(0).gamma(2, 1, 64).astype(np.float32)
    half = grid_of(np.zeros(64), values.astype(np.float16).astype(np.float64))
    short = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    brain = grid_of(np.zeros(64), short)
    assert half is not None
    assert half.kind == "float16"
    assert "float16" in half.words
    assert brain is not None
    assert brain.kind == "bfloat16"
    assert grid_of(np.zeros(3), np.array([1.0, 2.0, 3.0])) is None  # too few to tell
    assert grid_of(np.full(4, np.nan), np.full(4, np.nan)) is None
