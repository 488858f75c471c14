"""Gradients by the inputs against finite differences, for every operator."""

from __future__ import annotations

import numpy as np
import pytest
from certified_networks import ACTIVATIONS, WINDOWS, dense, joined, planes

from nla.certificates.gradients import by_inputs

NETWORKS = {
    "dense": lambda rng: dense(rng, ACTIVATIONS["LeakyRelu"], (4, 6, 5)),
    "joined": lambda rng: joined(rng, ACTIVATIONS["Gelu"]),
    "planes": lambda rng: planes(rng, ACTIVATIONS["Tanh"], *WINDOWS["strided"]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradient_is_the_slope(kind):
    rng = np.random.default_rng(6)
    network = NETWORKS[kind](rng)
    tensor, shape = network.ops[-1].output, network.inputs["x"]
    x, A = rng.normal(size=(3, *shape)), rng.normal(size=(3, *network.shapes[network.ops[-1].output]))
    values = {"x": x, **network.forward({"x": x}, [op.output for op in network.ops])}
    gradient = by_inputs(network, values, tensor, A)["x"].reshape(3, -1)
    step = 1e-6
    for k in range(gradient.shape[1]):
        ends = []
        for sign in (-1, 1):
            moved = x.reshape(3, -1).copy()
            moved[:, k] += sign * step
            made = network.forward({"x": moved.reshape(x.shape)}, [tensor])[tensor]
            ends.append((A * made).reshape(3, -1).sum(axis=1))
        np.testing.assert_allclose(gradient[:, k], (ends[1] - ends[0]) / (2 * step), rtol=1e-5, atol=1e-6)
