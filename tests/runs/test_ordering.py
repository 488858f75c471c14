"""The order of runs: by step where one series of names gives it, and what readers are told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run_cases import rich

from nla.errors import UsageError
from nla.runs import naming
from nla.runs.of_inspection import of
from nla.runs.ordering import first_is_initial, in_order, ordered
from nla.runs.run import Run

ONE = of(rich(), "one")


def runs(*names: str) -> tuple[Run, ...]:
    """Runs of these files, each of a checkpoint of its own."""
    paths = [f"{name}.h5" for name in names]
    given = zip(paths, naming.labels(paths), naming.steps(paths), strict=True)
    return tuple(
        replace(ONE, label=label, path=path, step=step, checkpoint={"digest": path})
        for path, label, step in given
    )


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ("epoch10 epoch9 epoch11", "epoch9 epoch10 epoch11", ""),
        (
            "3DBall-499147 3DBall-500147 3DBall-86881 3DBall",
            "3DBall-86881 3DBall-499147 3DBall-500147 3DBall",
            "3DBall bears no step and comes last",
        ),
        ("B B-2 B-1", "B-1 B-2 B", "B bears no step"),
        (
            "init epoch2 epoch1 best",
            "init epoch1 epoch2 best",
            "init, best: no step in the name; left where given",
        ),
        ("b a", "b a", ""),
        ("b-2 a-1 b-1 a-2", "b-2 a-1 b-1 a-2", "the names follow several patterns (b-N and a-N)"),
        ("x/e2 x/e1 y/e1 y/e2", "x/e2 x/e1 y/e1 y/e2", "two runs bear the step 2"),
        ("checkpoint-10/run checkpoint-9/run", "checkpoint-9/run checkpoint-10/run", ""),
    ],
)
def test_by_default_one_series_goes_by_its_steps(given, expected, said):
    arranged, notes = ordered(runs(*given.split()))
    assert " ".join(run.label for run in arranged) == expected
    assert said in " ".join(notes)
    assert bool(said) == bool(notes)


def test_the_order_may_be_kept_or_be_that_of_the_names():
    given = runs("epoch10", "epoch9", "a")
    assert ordered(given, "given") == (given, ())
    assert [run.label for run in ordered(given, "natural")[0]] == ["a", "epoch9", "epoch10"]
    with pytest.raises(UsageError, match="order backwards: expected auto, given, natural"):
        ordered(given, "backwards")


def test_steps_of_a_manifest_count_whatever_the_names_are():
    assert in_order(["b", "a", "c"], [3, 1, 2])[0] == (1, 2, 0)


def test_one_checkpoint_twice_is_told():
    first, second, third = runs("e1", "e2", "e3")
    _, notes = ordered([first, second, replace(third, checkpoint=first.checkpoint)])
    assert notes == ("e1 and e3 are the same checkpoint: their digests are equal",)


def test_many_twins_are_told_in_a_few_lines():
    same = [replace(run, checkpoint={"digest": "d"}) for run in runs("e1", "e2", "e3", "e4")]
    _, notes = ordered(same)
    assert len(notes) == 4
    assert notes[-1] == "and 3 more pairs of runs are one checkpoint each"


def test_only_step_0_is_known_to_be_the_beginning():
    given = runs("e0", "e1")
    assert first_is_initial(given) is True
    assert first_is_initial(given[1:]) is None
    assert first_is_initial(()) is None
