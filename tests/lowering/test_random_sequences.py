"""Random networks over sequences: equal to onnxruntime, dead units proved, no bound below what an input reaches."""

from __future__ import annotations

import numpy as np
import pytest
from certified_networks import climbed, inside
from lowering_graphs import lowered
from random_sequences import Sequences

from nla.certificates.proving import prove
from nla.certificates.sets import Box
from nla.certificates.witnesses import why_not


@pytest.mark.parametrize("seed", range(12))
def test_bounds_hold_what_inputs_reach_and_dead_units_are_proved(seed, tmp_path):
    made = Sequences(seed)
    case = lowered(made.model, tmp_path)
    network, rng = case.network, np.random.default_rng(seed)
    assert {target.site for target in network.targets} == set(made.relus), network.reasons
    width = float(rng.choice([0.02, 0.3, 2.0]))
    centre = rng.normal(size=network.inputs["x"]).astype(np.float32)
    box = Box(
        (centre - np.float32(width)).astype(np.float64), (centre + np.float32(width)).astype(np.float64)
    )
    asked = {target.site: range(target.neurons) for target in network.targets}
    bounds = prove(network, {"x": box}, asked, ("interval", "linear"))
    points = inside(rng, box, 20)
    free = [target for target in network.targets if why_not(network, target) is None]
    points = np.concatenate(
        [points, *(climbed(network, target.pre, box, points, 5)[::6] for target in free[-1:])]
    )
    for x in points:
        feeds = {"x": x[None].astype(np.float32)}
        for target, got in zip(
            network.targets, case.run(feeds, [t.pre for t in network.targets]), strict=True
        ):
            z = np.moveaxis(got[0], target.axis, 0).reshape(target.neurons, -1).max(axis=1)
            assert (z <= bounds[target.site].upper).all()
            if target in free:
                exact = network.forward({"x": x[None]}, [target.pre])[target.pre]
                assert exact == pytest.approx(got, abs=1e-4 * (1 + float(np.abs(got).max())))
    for target in network.targets:
        assert bounds[target.site].certified[0]
        assert np.isfinite(bounds[target.site].upper).all()
