"""Random networks counted in blocks, against slow loops in float64 and against the values of the study."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nla.errors import UsageError
from nla.theory.intervals import wilson
from nla.theory.simulation.networks import BLOCK, Task, counted, normalised_variance
from nla.theory.simulation.running import Sums, simulate
from nla.theory.simulation.schemes import SCHEMES
from nla.theory.simulation.settings import Settings


def alive(task: Task) -> np.ndarray:
    """Networks alive at each depth."""
    return np.sum([counted(task, block).alive for block in range(task.blocks)], axis=0)


def slow(task: Task, block: int) -> tuple[list[int], list[int]]:
    """(networks alive, living points) by depth: one network, one layer, one point at a time, on the same draws."""
    rng = np.random.default_rng([task.seed, task.width, block])
    many = min(BLOCK, task.networks - block * BLOCK)
    n, scale = task.width, np.sqrt(2 / task.width)
    data = rng.standard_normal((many, n, task.points), np.float32).astype(float)
    if task.bias:
        data /= np.abs(rng.standard_normal((many, 1, task.points), np.float32))
    if task.non_negative:
        data = np.abs(data)
    draws = []
    for _ in range(task.depth):
        weights = rng.standard_normal((many, n, n), np.float32).astype(float) * scale
        bias = rng.standard_normal((many, n, 1), np.float32) * scale if task.bias else np.zeros((many, n, 1))
        draws.append((weights, bias))
    networks, points = [0] * task.depth, [0] * task.depth
    for which in range(many):
        h, living = data[which], [True] * task.points
        for layer, (weights, bias) in enumerate(draws):
            z = weights[which] @ h + bias[which]
            if task.scheme == "flipped":
                killed = sum(living[p] and (z[:, p] <= 0).all() for p in range(task.points))
                z = -z if killed > sum(living) / 2 else z
            if task.scheme.startswith("normalised"):
                over = np.array(living) if task.scheme == "normalised-living" else np.ones(task.points, bool)
                if over.any():
                    z = z - z[:, over].mean(axis=1, keepdims=True)
                    spread = z[:, over].std(axis=1, keepdims=True)
                    z = z / np.where(spread > 0, spread, 1)
            living = [bool(living[p] and (z[:, p] > 0).any()) for p in range(task.points)]
            h = np.maximum(z, 0)
            top = np.abs(h).max()
            h = h / top if top > 0 and not task.bias else h
            networks[layer] += any(living)
            points[layer] += sum(living)
    return networks, points


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("bias", "non_negative"), [(False, False), (True, False), (False, True)])
def test_the_blocks_count_as_slow_loops_do(scheme, bias, non_negative):
    task = Task(scheme, 3, 12, 20, 24, 5, bias, non_negative)
    for block in range(task.blocks):
        tally = counted(task, block)
        assert (tally.alive.tolist(), tally.living.tolist()) == slow(task, block)
    first = counted(dataclasses.replace(task, depth=5), 0)
    assert first.living.tolist() == counted(task, 0).living[:5].tolist()


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [
        (Task("independent", 2, 2, 8192, 512, 0), 0.9358 - 0.010, 0.9358 + 0.010),
        (Task("independent", 2, 2, 4096, 1024, 0, bias=True), 0.98175 - 0.008, 0.98175 + 0.008),
        (Task("independent", 1, 2, 4096, 1024, 0, bias=True), 0.7412 - 0.025, 0.7412 + 0.025),
        (Task("independent", 3, 2, 4096, 256, 0), 0.9960, 0.9995),
        (Task("independent", 1, 4, 4096, 64, 0), 0.105, 0.145),
        (Task("normalised-living", 2, 16, 1024, 1024, 0), 914 / 1024 - 0.04, 914 / 1024 + 0.04),
        (Task("normalised-living", 2, 32, 1024, 1024, 0), 0.004, 0.026),
        (Task("normalised", 2, 16, 1024, 1024, 0), 603 / 1024 - 0.06, 603 / 1024 + 0.06),
        (Task("normalised", 2, 32, 1024, 1024, 0), 0.012, 0.05),
        (Task("normalised-living", 4, 128, 512, 1024, 0), 0.015, 0.075),
    ],
)
def test_the_probabilities_are_those_of_the_study(task, low, high):
    assert low <= alive(task)[-1] / task.networks <= high


def test_a_single_point_lives_as_the_lower_bound_says_and_no_cell_leaves_the_bounds():
    found = simulate(Settings.of(2, networks=256, points=128, max_width=6, depth=32), threads=1)
    assert [each.task.width for each in found.series] == [1, 2, 3, 4, 5, 6]
    for each in found.series:
        (low, high), (lower, upper) = each.interval, each.bounds
        assert (high >= lower).all()
        assert (low <= upper + 0.03).all()  # at width 1 the bound is the truth
        share_low, share_high = each.share_interval
        assert ((share_low <= lower + 0.03) & (lower <= share_high + 0.03)).all()
        assert each.probability == pytest.approx(each.alive / 256)


@pytest.mark.parametrize("scheme", ["normalised", "normalised-living"])
def test_batch_normalisation_saves_networks_and_not_points(scheme):
    """Figure 6 at width 8, 256 layers: .365 and .366 in the study, .367 by eq. 8; and every network lives."""
    task = Task(scheme, 8, 256, 64, 512, 0)
    tallies = [counted(task, block) for block in range(task.blocks)]
    assert sum(tally.alive[-1] for tally in tallies) == 64
    share = sum(tally.living[-1] for tally in tallies) / (64 * 512)
    assert share == pytest.approx(0.3655, abs=0.06)


def test_flips_keep_what_they_guarantee_and_more_than_independent_ones():
    found = simulate(Settings.of(6, networks=64, points=100, max_width=4, depth=40), threads=1)
    by_scheme = {scheme: found.of(scheme) for scheme in found.schemes}
    assert list(by_scheme) == list(SCHEMES)
    for flipped, plain in zip(by_scheme["flipped"], by_scheme["independent"], strict=True):
        assert (flipped.alive == 64).all()
        assert flipped.guaranteed_share is not None
        assert (flipped.share >= flipped.guaranteed_share).all()
        assert (flipped.share >= plain.share).all()
        assert plain.guaranteed_share is None


def test_flips_attain_their_bound_on_points_that_layers_halve():
    living = np.ones((1, 16), bool)
    left = []
    for layer in range(5):
        sign = np.where((np.arange(16) >> (3 - layer)) & 1 if layer < 4 else np.zeros(16), 1, -1)
        z = np.where(living, sign, 0)[:, None, :].astype(np.float32)
        living &= SCHEMES["flipped"]().top(z, living) > 0
        left.append(int(living.sum()))
    assert left == [8, 4, 2, 1, 1]


def test_the_result_does_not_depend_on_threads_nor_on_interruption():
    settings = Settings.of(5, networks=40, points=32, max_width=3, depth=9, seed=7)
    whole = simulate(settings, threads=1).to_dict()
    sums = tuple(map(Sums.empty, settings.tasks()))

    class Stop(Exception):  # noqa: N818 - no fault
        pass

    def stop(done: int, total: int) -> None:
        if 3 * done > total:
            raise Stop

    with pytest.raises(Stop):
        simulate(settings, threads=2, known=sums, on_block=stop)
    assert 0 < sum(int(each.known[1].sum()) for each in sums) < sum(each.task.blocks for each in sums)
    seen: list[tuple[int, int]] = []
    again = simulate(settings, threads=3, known=sums, on_block=lambda *at: seen.append(at))
    assert again.to_dict() == whole
    assert seen[-1][0] == seen[-1][1]
    assert simulate(dataclasses.replace(settings, seed=8), threads=1).to_dict() != whole


def test_the_normalised_variance_is_over_living_points():
    rng = np.random.default_rng(0)
    values, living = rng.random((3, 4, 9), np.float32), rng.random((3, 9)) < 0.6
    living[2] = False
    for at, made in enumerate(normalised_variance(values, living)):
        kept = values[at][:, living[at]].astype(float)
        if at == 2:
            assert np.isnan(made)
        else:
            assert made == pytest.approx(kept.var(axis=1).sum() / (kept.mean(axis=1) ** 2).sum(), rel=1e-5)


def test_deep_narrow_networks_neither_under_nor_overflow():
    for scheme in SCHEMES:
        task = Task(scheme, 2, 700, 16, 8, 3)
        tally = counted(task, 0)
        assert tally.living.min() >= 0
        assert (np.diff(tally.living) <= 0).all()
    flipped = counted(Task("flipped", 1, 2000, 16, 8, 0), 0)
    assert (flipped.alive == 16).all()


def test_figure_4_goes_along_n_of_k():
    found = simulate(Settings.of(4, networks=32, points=16, max_width=4, depth=12), threads=1)
    paths = found.paths()
    assert list(paths) == [0.1, 0.5, 0.9]
    assert [row["width"] for row in paths[0.5][:4]] == [1, 2, 3, 3]
    assert [row["depth"] for row in paths[0.9]] == [1]  # then five neurons are needed
    rows = list(found.rows())
    assert len(rows) == sum(map(len, paths.values()))
    low, high = wilson(rows[0]["alive"], 32)
    assert (rows[0]["low"], rows[0]["high"]) == (pytest.approx(float(low)), pytest.approx(float(high)))


@pytest.mark.parametrize(
    "given",
    [
        {"figure": 3},
        {"figure": 2, "networks": 0},
        {"figure": 2, "depth": 0},
        {"figure": 2, "max_width": 0},
        {"figure": 2, "points": -1},
        {"figure": 2, "seed": -1},
        {"figure": 2, "points": 10**9},
        {"figure": 2, "depth": 10**9},
        {"figure": 5, "bias": True},
        {"figure": [2]},
        {"figure": 2, "seed": 1.5},
        {"figure": 2, "networks": "many"},
    ],
)
def test_settings_that_make_no_sense_are_refused(given):
    with pytest.raises(UsageError):
        Settings.of(**given)
