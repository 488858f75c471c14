"""Labels tell runs apart with as little as is needed; a step is the number in which names differ."""

from __future__ import annotations

import pytest

from nla.runs.naming import labels, natural_key, split_number, steps


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/epoch07.h5"], ["epoch07"]),
        (["runs/epoch07.h5", "other/epoch08.h5"], ["epoch07", "epoch08"]),
        (["a/run.h5", "b/run.h5", "c/last.h5"], ["a/run", "b/run", "last"]),
        (["x/a/run.h5", "y/a/run.h5"], ["x/a/run", "y/a/run"]),
        (["run.h5", "run.json"], ["run.h5", "run.json"]),
        (["run.h5", "run.h5", "run.h5"], ["run", "run (2)", "run (3)"]),
        (["run.h5", "./run.h5"], ["run", "run (2)"]),
        (["run.v1.h5", "run.v2.h5"], ["run.v1", "run.v2"]),
        ([".h5"], [".h5"]),
        (["/"], ["run"]),
        ([], []),
    ],
)
def test_labels(paths, expected):
    assert labels(paths) == tuple(expected)


def test_labels_are_never_the_same():
    paths = ["a/run.h5", "a/run.json", "b/run.h5", "a/run.h5", "run (2).h5", "run.h5", "c/a/run.h5"]
    assert len(set(labels(paths))) == len(paths)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["epoch07.h5", "epoch10.h5"], [7, 10]),
        (["epoch07.h5"], [None]),  # nothing says that this number is a step
        (["3DBall-499147.h5", "3DBall-86881.h5", "3DBall.h5"], [499147, 86881, None]),
        (["resnet50-e1.h5", "resnet50-e2.h5", "resnet50.h5"], [1, 2, None]),
        (["lr0.1.h5", "lr0.5.h5"], [None, None]),
        (["lr1e-3.h5", "lr1e-4.h5"], [None, None]),
        (["e1-lr0.1.h5", "e2-lr0.1.h5"], [1, 2]),
        (["checkpoint-500/run.h5", "checkpoint-1000/run.h5"], [500, 1000]),
        (["checkpoint-500/model_v2.h5", "checkpoint-1000/model_v2.h5"], [500, 1000]),
        (["a/epoch1.h5", "a/epoch2.h5", "b/epoch1.h5"], [1, 2, 1]),
        (["relu.h5", "elu.h5"], [None, None]),
        (["x-" + "1" * 40 + ".h5", "x-2.h5"], [None, None]),
    ],
)
def test_steps(paths, expected):
    assert steps(paths) == tuple(expected)


def test_numbers_in_names_sort_as_numbers():
    names = ["epoch10", "epoch9", "epoch", "10", "9", "epoch9b"]
    assert sorted(names, key=natural_key) == ["9", "10", "epoch", "epoch9", "epoch9b", "epoch10"]


def test_a_number_of_the_name_is_split_off():
    assert split_number("a1b02c") == ("a1b", 2, "c")
    assert split_number("abc") is None
