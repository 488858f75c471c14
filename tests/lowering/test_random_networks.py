"""Random networks of every block: lowered, equal to onnxruntime, planted dead units proved, none proved that fires."""

from __future__ import annotations

import numpy as np
import pytest
from lowering_graphs import lowered
from random_graphs import random_network

from nla.certificates.proving import prove
from nla.certificates.sets import Box


@pytest.mark.parametrize("seed", range(16))
def test_planted_silence_is_proved_and_nothing_that_fires(seed, tmp_path):
    made = random_network(seed)
    (graph_input,) = made.model.graph.input
    name = graph_input.name
    sizes = [1, *made.x.shape[1:]]
    case = lowered(made.model, tmp_path, {name: sizes})
    network = case.network
    assert all("no activation of one z" in reason for reason in network.reasons.values())
    box = {name: Box(np.full(network.inputs[name], -1.0), np.ones(network.inputs[name]))}
    bounds = prove(network, box, {t.site: np.arange(t.neurons) for t in network.targets}, ("interval",))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        x = rng.uniform(-1, 1, sizes).astype(np.float32)
        names = [target.pre for target in network.targets]
        values = network.forward({name: x.reshape(1, *network.inputs[name])}, names)
        for target, got in zip(network.targets, case.run({name: x}, names), strict=True):
            shape = network.shapes[target.pre]
            assert values[target.pre][0] == pytest.approx(
                got.reshape(shape), abs=1e-4 * (1 + float(np.abs(got).max()))
            )
            z = np.moveaxis(got.reshape(shape), target.axis, 0).reshape(target.neurons, -1).max(axis=1)
            assert (z <= bounds[target.site].upper).all()
    for target in network.targets:
        dead = made.planted[target.site].dead if target.site in made.planted else []
        assert bounds[target.site].certified[dead].all()
