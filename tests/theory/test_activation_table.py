"""The table of activations against finite differences, plain searches and the errata."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nla.errors import UsageError
from nla.theory.activation_table import FLAT, named, table_of

ROWS = {row.activation.name: row for row in table_of().rows}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_agrees_with_the_function_itself(name):
    row = ROWS[name]
    z = np.random.default_rng(0).uniform(-30, 30, 4000)
    value, slope = row.activation.value(z), row.activation.derivative(z)
    assert (value >= row.lowest - 1e-9).all()
    assert (value <= row.highest + 1e-9).all()
    assert (slope >= row.slopes[0] - 1e-7).all()
    assert (slope <= row.slopes[1] + 1e-7).all()
    flat = np.zeros(len(z), bool)
    for low, high in row.flat:
        flat |= (z > low) & (z < high)
    assert ((np.abs(slope) < FLAT) == flat).all()
    for turn in row.turns:
        before, after = row.activation.derivative([turn - 1e-6, turn + 1e-6])
        assert before * after < 0
    far = row.activation.value([-1e4, 1e4])
    assert math.isinf(row.lowest) == (far[0] < -50)
    assert math.isinf(row.highest) == (far[1] > 50)


def test_the_corrections_of_the_errata():
    assert ROWS["Gelu"].slopes[1] == pytest.approx(1.12890, abs=5e-6)
    assert ROWS["Swish"].slopes[1] == pytest.approx(1.09984, abs=5e-6)
    assert ROWS["Gelu"].turns == pytest.approx((-0.7518,), abs=5e-5)
    assert ROWS["Swish"].turns == pytest.approx((-1.2785,), abs=5e-5)
    assert ROWS["Relu"].flat == ((-math.inf, 0.0),)
    assert ROWS["HardSwish"].slopes[0] == pytest.approx(-0.5, abs=1e-6)
    assert ROWS["Relu"].activation.saturation_risk.startswith("none")
    assert (ROWS["Elu"].lowest, ROWS["Sigmoid"].highest, ROWS["Softplus"].lowest) == (-1, 1, 0)


def test_names_whatever_their_case_and_wrong_ones():
    assert [row.activation.name for row in table_of(["RELU", "gelu", "relu"]).rows] == ["Relu", "Gelu"]
    assert dict(named("clip").parameters) == {"min": 0.0, "max": 6.0}
    for name in ("SwiGLU", "lstm", "x", ""):
        with pytest.raises(UsageError, match="there are Relu"):
            table_of([name])
