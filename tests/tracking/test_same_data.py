"""Runs saw the same samples where digest, number and choice of samples say so."""

from __future__ import annotations

import pytest
from compared_runs import run

from nla.errors import UsageError
from nla.tracking.same_data import check_data, same_data

ALL = {
    "digest": "d" * 64,
    "samples": 100,
    "samples_in_all": 100,
    "limit": None,
    "held_out": 0.0,
    "shard": None,
}


def of(**changes):
    return run("r", data={**ALL, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 100},
        {"path": "elsewhere.npz"},
        {"shard": [[1, 2], [2, 2]]},  # both shards, merged
        {"held_out": None},
        {"seed": 3},  # of nothing: the data are real
    ],
)
def test_these_are_the_same_samples(changes):
    assert same_data(of(), of(**changes))
    assert check_data([of(), of(**changes)], False) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "e" * 64},
        {"digest": None},
        {"samples": 50},
        {"held_out": 0.5, "samples": 50, "held_out_samples": 50},
        {"samples": 50, "shard": [1, 2]},
    ],
)
def test_these_are_others(changes):
    assert not same_data(of(), of(**changes))
    with pytest.raises(UsageError, match="--different-data"):
        check_data([of(), of(), of(**changes)], False)
    (note,) = check_data([of(), of(**changes)], True)
    assert "may be the data's doing" in note


def test_shards_of_one_set_and_seeds_of_random_numbers_tell_samples_apart():
    first, second = (of(samples=50, shard=[k, 2]) for k in (1, 2))
    assert not same_data(first, second)
    assert not same_data(of(synthetic=True, seed=0), of(synthetic=True, seed=1))
    assert same_data(of(synthetic=True, seed=1), of(synthetic=True, seed=1))
