"""Plain and residual networks side by side, against slow loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from nla.errors import UsageError
from nla.theory.bounds import bounds
from nla.theory.layers import alike
from nla.theory.simulation.networks import RESIDUAL, Task, counted
from nla.theory.simulation.running import simulate
from nla.theory.simulation.settings import PHASES, Settings
from nla.theory.widths import borders, width_for


def test_residual_blocks_count_as_slow_loops_do():
    task = Task(RESIDUAL, 2, 20, 16, 12, 3)
    rng = np.random.default_rng([3, 2, 0])
    h = rng.standard_normal((16, 2, 12), np.float32).astype(float)
    silent = []
    for _ in range(20):
        z = rng.standard_normal((16, 2, 2), np.float32).astype(float) @ h
        silent.append(sum(bool((each <= 0).all()) for each in z))
        h = h + np.maximum(z, 0)
    tally = counted(task, 0)
    assert tally.silent.tolist() == silent
    assert sum(silent) > 0
    assert (tally.alive == 16).all()
    assert (tally.living == 16 * 12).all()


def test_silent_layers_of_plain_networks_are_their_deaths():
    tally = counted(Task("independent", 2, 16, 16, 24, 0), 0)
    assert np.cumsum(tally.silent).tolist() == (16 - tally.alive).tolist()


def test_phases_are_plain_and_residual_and_lie_between_the_borders():
    found = simulate(Settings.of(PHASES, networks=64, points=64, max_width=5, depth=64), threads=1)
    assert found.schemes == ("independent", RESIDUAL)
    for plain, residual in zip(*(found.of(scheme) for scheme in found.schemes), strict=True):
        assert (residual.probability == 1).all()
        assert (residual.share == 1).all()
        assert residual.silent_share is not None
        assert residual.silent_share[-1] <= 2.0**-plain.task.width + 0.05
        assert plain.silent_share is None
        width = plain.task.width
        for depth in range(1, 65):
            lower, upper = borders(0.5, depth, bias=False)
            (low, high), at = plain.interval, depth - 1
            assert high[at] >= 0.5 or width < lower
            assert low[at] <= 0.5 or width > upper or depth == 1
    assert found.of(RESIDUAL)[0].silent_share[-1] == pytest.approx(0.47, abs=0.05)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("probability", "depth"), [(0.5, 64), (0.9, 3), (0.1, 1000)])
def test_borders_are_where_the_bounds_pass_the_probability(bias, probability, depth):
    lower, upper = borders(probability, depth, bias=bias)
    for width, which in ((lower, "lower"), (upper, "upper")):
        above = getattr(bounds(alike(int(np.ceil(width + 1e-9)), depth, bias=bias)), which).alive
        below = getattr(bounds(alike(max(1, int(np.floor(width - 1e-9))), depth, bias=bias)), which).alive
        assert above >= probability
        assert below <= probability or width <= 1
    assert (1 - 2.0**-lower) ** depth == pytest.approx(probability)


def test_a_width_is_not_made_smaller_by_what_a_probability_cannot_say():
    found = width_for(1 - 2.0**-53, 3)
    assert found.exact == pytest.approx(54.585, abs=1e-3)
    assert found.enough == 55


def test_phases_are_without_biases():
    with pytest.raises(UsageError, match="without biases"):
        Settings.of(PHASES, bias=True)
