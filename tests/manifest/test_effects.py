"""What a plan saves and what it is worth, against plain counts of weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from measured import FILES, measure, network, site

import nla
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.manifest.effects import bytes_per_parameter
from nla.manifest.planning import plan
from nla.site import Consumer, Producer

SAMPLE = Path(__file__).parents[2] / "sample_models/dying_relu"
LIVELY = np.maximum(np.random.default_rng(3).normal(size=(50, 1)), 0)


def columns(*units: object) -> np.ndarray:
    return np.concatenate([np.broadcast_to(unit, (50, 1)) for unit in units], axis=1)


def test_a_chain_of_dense_layers_loses_what_a_loop_over_its_weights_counts():
    widths, dead = [7, 4, 5, 3], {"h1": [0, 2], "h2": [1]}
    layers = []
    for k, name in enumerate(("h1", "h2")):
        after = "h2" if k == 0 else None
        consumer = Consumer(f"fc{k + 2}", "Gemm", f"w{k + 2}", 1, after, widths[k + 2])
        where = site(
            name,
            neurons=widths[k + 1],
            producers=(Producer(f"fc{k + 1}", "Gemm", f"w{k + 1}", f"b{k + 1}"),),
            consumers=(consumer,),
            parameters_in=widths[k] + 1,
        )
        units = [0 if unit in dead[name] else (unit + 1) * LIVELY for unit in range(widths[k + 1])]
        layers.append((where, columns(*units)))
    effect = plan(network(*layers), "remove").effect
    kept = [7, 4 - 2, 5 - 1, 3]
    weights = sum(a * b for a, b in pairwise(widths))
    left = sum(a * b for a, b in pairwise(kept))
    assert effect["units"] == 3
    assert effect["multiply_adds"] == weights - left
    assert effect["parameters"] == weights - left + 3
    assert effect["bytes"] == 4 * effect["parameters"]


def test_the_sample_model_loses_what_its_weights_say():
    seen = nla.inspect(SAMPLE / "model.onnx", SAMPLE / "data.npz", in_process=True)
    planned = plan(seen, "remove")
    widths = {action.site: len(action.units) for action in planned.actions}
    model = onnx.load(SAMPLE / "model.onnx")
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    before = sum(int(np.prod(s)) for s in shapes.values())
    for result in seen.sites:
        for weight in (*result.site.producers, *result.site.consumers):
            shapes[weight.weight][weight.weight_axis] -= widths.get(result.name, 0)
        for producer in result.site.producers:
            shapes[producer.bias][0] -= widths.get(result.name, 0)
    after = sum(int(np.prod(s)) for s in shapes.values())
    assert planned.effect["parameters"] == before - after > 0


def test_a_channel_of_a_feature_map_counts_every_position():
    consumer = Consumer("conv2", "Conv", "w2", 1, None, 9)
    where = site("map", neurons=2, role="conv", consumers=(consumer,), parameters_in=9)
    a = np.zeros((6, 20, 2))
    a[:, :, 1] = np.random.default_rng(0).random((6, 20))
    effect = plan(network((where, a)), "remove").effect
    assert effect["multiply_adds"] == 20 * (9 + 9)
    assert effect["parameters"] == 18


@pytest.mark.parametrize(("size", "width"), [(None, 4), (4100, 4), (2050, 2), (1100, 1), (8200, 8)])
def test_the_width_of_a_weight_is_read_off_the_file(size, width):
    checkpoint = {"path": "m.onnx", "digest": "0" * 64, "bytes": size, "parameters": 1000}
    where = site(neurons=1)
    seen = judge(
        [where],
        {"relu": measure(np.zeros((3, 1)), where.activation)},
        None,
        Criteria(),
        **{**FILES, "checkpoint": checkpoint},
    )
    assert bytes_per_parameter(seen) == width


def test_the_worth_of_silence_counts_samples_and_neurons():
    seen = network((site("a"), columns(0, LIVELY, 0)), (site("b"), columns(LIVELY, LIVELY, 0)))
    worth = plan(seen, "remove").worth
    assert worth["confidence"] == 0.95
    assert worth["calibration"]["samples"] == 50
    assert worth["calibration"]["units"] == 3
    assert worth["calibration"]["rate_upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 50))
    assert worth["calibration"]["joint_rate_upper_bound"] == pytest.approx(1 - (0.05 / 6) ** (1 / 50))
    assert worth["held_out"] is None
    assert "0 of 50 samples moved any of these 3 units; with 95 % confidence" in worth["words"][0]
    assert "--held-out 0.2" in worth["words"][1]


def test_the_worth_says_how_many_fire_on_held_out_data():
    where, a = site(), columns(0, LIVELY, 0)
    held = a[:20].copy()
    held[5, 2] = 1.0
    splits = [{"relu": measure(x, where.activation)} for x in (a, held)]
    seen = judge([where], *splits, Criteria(), **FILES)
    worth = plan(seen, "remove").worth
    assert worth["held_out"] == {"samples": 20, "fired": 1}
    assert "On 20 held-out samples 1 of 2 does move: outputs will change there" in worth["words"][1]
    assert "however steady the accuracy" in worth["words"][1]


def test_random_data_is_worth_nothing():
    where = site(neurons=2)
    seen = judge(
        [where],
        {"relu": measure(columns(0, LIVELY), where.activation)},
        None,
        Criteria(),
        **{**FILES, "data": {**FILES["data"], "synthetic": True, "samples": 50}},
    )
    planned = plan(seen, "remove")
    assert "random numbers" in planned.worth["words"][0]
    assert any("random numbers" in note for note in planned.notes)
    assert planned.data["synthetic"] is True


def test_a_plan_that_rests_on_no_silence_says_nothing_of_it():
    seen = network((site(neurons=2), columns(LIVELY, 2 * LIVELY)))
    assert plan(seen, "merge").worth == {"confidence": 0.95, "words": []}
