"""Gated products: max(z, 0)·u is silent where z is; of other gates nothing is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from lowering_graphs import lowered, model, weights

from nla.certificates.proving import prove
from nla.certificates.sets import Box

_GATE = (
    "g = MatMul(x, w)\n z = Add(g, b)\n {gate}\n u = MatMul(x, v)\n p = Mul({operands})\n y = MatMul(p, d)"
)
SHUT = np.array([-10, 10, -10, 0], np.float32)


def _case(gate, folder, operands="a, u"):
    arrays = {"w": weights(4, 4), "v": weights(4, 4, seed=1), "d": weights(4, 3), "b": SHUT}
    body = _GATE.format(gate=gate, operands=operands)
    return lowered(model(body, "float[1, 5, 4] x", **arrays), folder)


@pytest.mark.parametrize("operands", ["a, u", "u, a"])
def test_a_gate_that_is_shut_for_every_input_silences_the_product(operands, tmp_path):
    case = _case("a = Relu(z)", tmp_path, operands)
    (target,) = case.network.targets
    assert (target.site, target.pre, target.activation.name) == ("p", "z", "Relu")
    box = {"x": Box(-np.ones((5, 4)), np.ones((5, 4)))}
    found = prove(case.network, box, {"p": range(4)})["p"]
    assert found.certified.tolist() == [True, False, True, False]
    rng = np.random.default_rng(0)
    for _ in range(20):
        (p,) = case.run({"x": rng.choice([-1.0, 1.0], (1, 5, 4)).astype(np.float32)}, ["p"])
        assert not p[..., found.certified].any()
        assert p[..., 1].any()


@pytest.mark.parametrize("gate", ["s = Sigmoid(z)\n a = Mul(z, s)", "a = Sigmoid(z)", "a = LeakyRelu(z)"])
def test_a_gate_that_never_shuts_leaves_the_product_undecided(gate, tmp_path):
    assert "p" not in {target.site for target in _case(gate, tmp_path).network.targets}
