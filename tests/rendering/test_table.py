"""The rows of `nla neurons`: every column in order, every digit, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspections import inspection, site_result

from nla.errors import UsageError
from nla.lifecycle.table import neuron_table
from nla.rendering import table

ALWAYS = [
    *(
        "site",
        "index",
        "state",
        "flags",
        "activation_rate",
        "firing_frequency",
        "mean",
        "mean_abs",
        "std",
        "min",
    ),
    *(
        "max",
        "dormancy_score",
        "contribution_score",
        "samples",
        "positions",
        "fired_samples",
        "rate_upper_bound",
    ),
    "margin",
]
"""Columns of design.md section 4, in their order."""


@pytest.fixture
def csv_rows(capsys):
    def rows(neurons) -> list[dict[str, str]]:
        table.print_csv(neurons)
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    return rows


def test_columns_stand_in_the_order_of_the_contract(csv_rows):
    assert list(csv_rows(neuron_table(inspection([site_result("a", {"active": 1})])))[0]) == ALWAYS


def test_optional_columns_follow_where_they_are_known(csv_rows):
    known = {
        "held_out_fired": np.array([3, 0]),
        "p_value": np.array([0.5, np.nan]),
        "certificate": np.array(["none", "box"]),
        "saturated_share": np.array([np.nan, np.nan]),
    }
    first = csv_rows(neuron_table(inspection([site_result("a", {"active": 2}, columns=known)])))[0]
    assert list(first) == [*ALWAYS, "p_value", "held_out_fired", "certificate"]
    assert first["held_out_fired"] == "3"


def test_a_column_that_only_one_site_knows_is_empty_at_the_other(csv_rows):
    seen = inspection(
        [
            site_result("a", {"active": 1}, columns={"held_out_fired": np.array([7])}),
            site_result("b", {"active": 1}),
        ]
    )
    assert [row["held_out_fired"] for row in csv_rows(neuron_table(seen))] == ["7", ""]


@given(st.floats(allow_nan=False))
def test_a_number_comes_back_from_csv_bit_for_bit(number):
    assert float(table.cell(number)) == number
    assert np.copysign(1, float(table.cell(number))) == np.copysign(1, number)


def test_negative_numbers_are_not_taken_for_formulas():
    assert table.cell(-1.5) == "-1.5"
    assert table.cell(-3) == "-3"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_name_that_is_a_formula_is_disarmed(csv_rows, name):
    (row,) = csv_rows(neuron_table(inspection([site_result(name, {"active": 1})])))
    assert not row["site"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row["index"] == "0"


def test_a_name_with_a_comma_a_quote_or_a_newline_stays_one_cell(csv_rows):
    (row,) = csv_rows(neuron_table(inspection([site_result('a,"b"\nc\x1b[31m', {"active": 1})])))
    assert row["site"] == 'a,"b"\\nc\\x1b[31m'


def test_long_names_are_whole_in_csv(csv_rows):
    (row,) = csv_rows(neuron_table(inspection([site_result("n" * 5000, {"active": 1})])))
    assert row["site"] == "n" * 5000


def test_json_rows_are_strict_and_empty_cells_are_null(capsys):
    seen = inspection(
        [site_result("a", {"dead": 1}, columns={"margin": np.array([np.inf])}, flags={0: ("linear",)})]
    )
    table.print_json(neuron_table(seen))
    text = capsys.readouterr().out
    (row,) = json.loads(text, parse_constant=pytest.fail)
    assert row["margin"] is None
    assert row["mean"] is None
    assert row["flags"] == ["linear"]
    assert row["samples"] == 100
    assert text.endswith("]\n")


def test_no_row_is_an_empty_list_and_a_bare_head(capsys, csv_rows):
    nothing = neuron_table(inspection([site_result("a", {"active": 1})]), state=["dead"])
    table.print_json(nothing)
    assert json.loads(capsys.readouterr().out) == []
    assert csv_rows(nothing) == []


def test_filters_choose_rows_and_keep_indices():
    seen = inspection(
        [
            site_result("a", {"dead": 2, "active": 2}, flags={1: ("near_dead",)}),
            site_result("b", {"active": 1, "dead": 1}),
        ]
    )
    chosen = neuron_table(seen, state=["dead"])
    assert [(r["site"], r["index"]) for r in chosen.rows()] == [("a", 0), ("a", 1), ("b", 1)]
    assert [r["index"] for r in neuron_table(seen, ["a"], flag=["near_dead"]).rows()] == [1]
    assert len(neuron_table(seen, site=["b"], state=["active", "dead"])) == 2


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"site": ["rleu"]}, "no site 'rleu'; did you mean relu"),
        ({"site": ["xyz"]}, "there are relu"),
        ({"state": ["death"]}, "did you mean dead"),
        ({"flag": ["neardead"]}, "did you mean near_dead"),
    ],
)
def test_a_filter_that_names_nothing_says_what_there_is(filters, said):
    with pytest.raises(UsageError, match=said):
        neuron_table(inspection([site_result("relu", {"active": 1})]), **filters)


def test_the_table_for_people_fits_100_columns_and_counts_its_rows(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "/model/decoder/layers.11/mlp/activation_function/Mul_output_0"
    seen = inspection([site_result(name, {"dead": 20}, flags={3: ("starved", "near_dead")})])
    table.print_table(neuron_table(seen))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "20 neurons" in out


def test_the_table_of_no_rows_says_so(capsys):
    table.print_table(neuron_table(inspection([site_result("a", {"active": 1})]), state=["dead"]))
    assert capsys.readouterr().out == "no neuron is so\n"
