"""Experiments side by side: every number against a count by hand, and what the user adds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from compared_runs import run, site
from jsonschema import Draft202012Validator

from nla.errors import UsageError
from nla.lifecycle.results import STATES
from nla.tracking.columns import given_columns, read_columns, unnamed
from nla.tracking.comparison import comparison, never_positive

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas/comparison-1.schema.json").read_text())
)


def networks():
    """Three layers, and one; their states and activation rates."""
    rng = np.random.default_rng(8)
    deep = {
        f"l{k}": (rng.choice(STATES, n), rng.choice([0.0, 0.25, 0.5], n)) for k, n in enumerate((40, 30, 20))
    }
    flat = {"only": (rng.choice(STATES, 50), rng.choice([0.0, 0.5], 50))}
    return deep, flat


def test_every_number_is_that_of_a_count_by_hand():
    deep, flat = networks()
    runs = [
        run(label, *(site(n, states, activation_rate=rates, rank=7.0) for n, (states, rates) in each.items()))
        for label, each in (("deep", deep), ("flat", flat))
    ]
    seen = comparison(runs)
    for label, each in (("deep", deep), ("flat", flat)):
        experiment = seen[label]
        assert [layer.site for layer in experiment.layers] == list(each)
        shares, never = [], []
        for layer, (states, rates) in zip(experiment.layers, each.values(), strict=True):
            words, values = states.tolist(), rates.tolist()
            assert dict(layer.counts) == {state: words.count(state) for state in STATES}
            assert layer.never_positive == values.count(0.0)
            assert layer.effective_capacity == pytest.approx((1 - words.count("dead") / len(words)) * 7)
            shares.append(words.count("dead") / len(words))
            never.append(values.count(0.0) / len(values))
        assert experiment.mean_dead_share == pytest.approx(sum(shares) / len(shares))
        assert experiment.mean_never_positive_share == pytest.approx(sum(never) / len(never))
        assert experiment.total("dead") == sum(states.tolist().count("dead") for states, _ in each.values())
    SCHEMA.validate(seen.to_dict())


def test_networks_of_different_depths_are_aligned_from_the_input():
    deep, flat = networks()
    runs = [
        run(label, *(site(n, states) for n, (states, _) in each.items()))
        for label, each in (("d", deep), ("f", flat))
    ]
    seen = comparison(runs)
    assert seen.depth == 3
    assert [layer.depth for layer in seen["d"].layers] == [0.0, 0.5, 1.0]
    assert [(layer.number, layer.depth) for layer in seen["f"].layers] == [(1, 0.0)]
    assert [row["layer"] for row in seen.rows()] == [1, 2, 3, 1]


def test_rates_that_are_not_known_are_not_counted():
    known = site("p", ["active"] * 3, activation_rate=[0.0, 0.5, np.nan])
    unknown = site("q", ["active"] * 3, activation_rate=[np.nan] * 3)
    without = site("r", ["active"] * 3, rows=False)
    assert [never_positive(each) for each in (known, unknown, without)] == [1, None, None]
    seen = comparison([run("a", known, unknown, without)])
    assert seen["a"].never_positive == 1
    assert seen["a"].neurons_with_rates == 3
    assert seen["a"].mean_never_positive_share == pytest.approx(1 / 3)
    document = seen.to_dict()
    assert document["runs"][0]["layers"][1]["never_positive_share"] is None
    SCHEMA.validate(document)


def test_a_run_without_sites_or_ranks_stands_in_the_table():
    seen = comparison([run("empty"), run("a", site("p", ["dead"], rank=math.nan))])
    assert math.isnan(seen["empty"].mean_dead_share)
    assert seen["empty"].never_positive is None
    assert math.isnan(seen["a"].mean_effective_rank)
    SCHEMA.validate(seen.to_dict())


def test_other_data_are_noted():
    seen = comparison([run("a", site("p", ["dead"])), run("b", site("p", ["dead"]), digest="e" * 64)])
    assert seen.notes == ("b saw other data than a: their numbers may differ for that alone",)


def test_names_are_one_for_each_run_and_tell_them_apart():
    runs = [run("a", site("p", ["dead"])), run("b", site("p", ["dead"]))]
    assert [each.label for each in comparison(runs, name=["ReLU", "ELU"]).experiments] == ["ReLU", "ELU"]
    with pytest.raises(UsageError, match="1 names for 2 runs"):
        comparison(runs, name=["ReLU"])
    with pytest.raises(UsageError, match="two runs are to be called 'x'"):
        comparison(runs, name=["x", "x"])


def test_columns_hold_numbers_texts_and_nothing():
    assert given_columns({"acc": "0.97, 1e-3,", "how": ["adam", None, 3]}, 3) == {
        "acc": (0.97, 0.001, None),
        "how": ("adam", None, 3.0),
    }
    assert given_columns({"x": "nan,inf,-.5"}, 3) == {"x": ("nan", "inf", -0.5)}
    with pytest.raises(UsageError, match="column 'acc' has 2 values for 3 runs"):
        given_columns({"acc": "1,2"}, 3)


def test_a_table_of_columns_is_read_by_the_names_of_runs():
    text = 'name, accuracy,"notes, mine"\r\nelu,0.976,"steady, slow"\r\n\r\nrelu,0.9736\r\nother,1,x\r\n'
    labels = ["relu", "elu", "gelu"]
    assert read_columns(text, labels, "f.csv") == {
        "accuracy": (0.9736, 0.976, None),
        "notes, mine": (None, "steady, slow", None),
    }
    assert unnamed(text, labels) == ("gelu",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no table"),
        ("run\nrelu\n", "holds no table"),
        ("run,a,a\nrelu,1,2\n", "one name twice"),
        ("run,,b\nrelu,1,2\n", "a column no name"),
        ("run,a\nrelu,1,2\n", "row 2: 3 cells under 2 names"),
        ("run,a\nrelu,1\nrelu,2\n", "row 3: run 'relu' comes twice"),
        ("run,a\nresnet,1\n", "names none of the runs, which are called relu, elu"),
        ("run,a\nrelu," + "x" * 200_000 + "\n", "is no CSV table"),
    ],
)
def test_a_table_that_is_none_is_refused(text, said):
    with pytest.raises(UsageError, match=said) as refused:
        read_columns(text, ["relu", "elu"], "f.csv")
    assert str(refused.value).startswith("f.csv")
