"""Deaths, revivals and propagation, against loops over single neurons and a network worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from series import run, site

from nla.tracking.deaths import deaths
from nla.tracking.propagation import propagation
from nla.tracking.trajectories import trajectories


def followed(*steps: str, **settings):
    """The trajectory of one site from the letters of its neurons' states."""
    runs = [run(f"e{k}", site("relu", letters, **settings), step=k) for k, letters in enumerate(steps)]
    return trajectories(runs)[0][0]


def test_a_neuron_without_a_verdict_neither_died_nor_revived() -> None:
    found = deaths(followed("duad", "uada", "dada"))
    assert found.died.tolist() == [0, 1, 0]
    assert found.revived.tolist() == [0, 1, 0]


def test_every_count_is_that_of_a_loop_over_neurons() -> None:
    generator = np.random.default_rng(0)
    letters = ["".join(row) for row in generator.choice(list("dddaaos"), (9, 60))]
    found = deaths(followed(*letters))
    dead = np.array([[letter == "d" for letter in row] for row in letters])
    first, died, revived = (np.zeros(9, int) for _ in range(3))
    revivals, spells = [], []
    for neuron in dead.T:
        times, length = 0, 0
        for step, now in enumerate(neuron):
            before = step > 0 and neuron[step - 1]
            first[step] += bool(now and not neuron[:step].any())
            died[step] += bool(step and now and not before)
            if before and not now:
                revived[step] += 1
                times += 1
                spells.append(length)
            length = length + 1 if now else 0
        revivals.append(times)
    assert found.dead.tolist() == dead.sum(axis=1).tolist()
    assert found.first_dead.tolist() == first.tolist()
    assert found.died.tolist() == died.tolist()
    assert found.revived.tolist() == revived.tolist()
    assert found.revivals.tolist() == np.bincount(revivals).tolist()
    assert found.dead_for.tolist() == np.bincount(spells)[1:].tolist()
    assert found.ever_dead == dead.any(axis=0).sum()
    assert found.permanent == dead[-1].sum()
    assert found.just_died == (dead[-1] & ~dead[-2]).sum()
    assert found.dead_intervals == dead[:-1].sum()
    assert found.revival_rate == pytest.approx(revived.sum() / dead[:-1].sum())


def test_a_site_without_deaths() -> None:
    found = deaths(followed("aa", "as"))
    assert found.ever_dead == found.permanent == 0
    assert np.isnan(found.revival_rate)
    assert found.revivals.tolist() == [2]
    assert found.dead_for.tolist() == []


def test_neurons_dead_from_the_first_step_did_not_die_in_the_series() -> None:
    found = deaths(followed("da", "dd"))
    assert (found.first_dead.tolist(), found.died.tolist()) == ([1, 1], [0, 1])


def network(*steps: tuple[str, str, dict[int, tuple[str, ...]]]):
    """A network of two layers: states of both, and flags of the second."""
    return trajectories(
        [
            run(f"e{k}", site("first", a), site("second", b, upstream=("first",), flags=flags), step=k)
            for k, (a, b, flags) in enumerate(steps)
        ]
    )[0]


def test_a_neuron_that_dies_with_all_its_inputs_is_starved() -> None:
    starved = ("starved",)
    first, second = propagation(
        network(
            ("aa", "aaa", {}),
            ("da", "ada", {}),  # dies with one input alive: not starved
            (
                "dc",
                "ddc",
                {0: starved, 1: starved, 2: starved},
            ),  # the other follows; one is constant, not dead
            ("dd", "dda", {0: starved, 1: starved}),
        )
    )
    assert first.upstream == ()
    assert np.isnan(first.upstream_dead_share).all()
    assert first.starved.sum() == first.dead_upstream.sum() == 0
    assert second.upstream == ("first",)
    assert second.died.tolist() == [0, 1, 1, 0]
    assert second.starved.tolist() == [0, 0, 1, 0]  # neuron 1 was dead before it starved
    assert second.dead_upstream.tolist() == [0, 1, 1, 0]
    assert second.upstream_dead_share.tolist() == [0, 0.5, 0.5, 1]
    assert [each.tolist() for each in second.starved_neurons] == [[], [], [0], []]


def test_upstream_sites_that_are_not_followed_are_not_named() -> None:
    (only,) = propagation(
        trajectories([run("a", site("s", "a", upstream=("gone",))), run("b", site("s", "d"))])[0]
    )
    assert only.upstream == ()
