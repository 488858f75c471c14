"""Values of options: what is taken is shown by the doctests, what is refused here."""

from __future__ import annotations

import math
from collections.abc import Callable

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nla.cli import parameters


@pytest.mark.parametrize(
    ("parse", "bad"),
    [
        (parameters.size_bytes, ["", "0", "-1", "4XB", "many", "1e9", "4 G B", "0.2"]),
        (parameters.duration_seconds, ["", "0", "-5", "10x", "m", "10m5", "1:30"]),
        (parameters.share, ["", "1", "100%", "-0.1", "nan", "inf", "half"]),
        (parameters.shard, ["", "0/3", "4/3", "3", "a/b", "-1/2", "1/2/3"]),
        (parameters.height_width, ["", "224", "0x5", "-1x2", "axb", "1x2x3", "100000x1"]),
        (parameters.numbers, ["", "a", "1,", "nan", "1,inf"]),
        (parameters.number, ["", "a", "1/0", "nan", "1/2/3"]),
        (parameters.batch_size, ["", "0", "-3", "1.5", "Auto", "٣x"]),
        (parameters.positive, ["", "0", "-3", "1.5", "1" * 20]),
        (parameters.natural, ["", "-1", "1.5"]),
        (parameters.names, ["", " , "]),
        (parameters.assignment, ["", "a", "=1", "a="]),
    ],
)
def test_values_that_make_no_sense_are_refused_with_what_was_expected(parse, bad):
    for text in bad:
        with pytest.raises(ValueError, match="expected"):
            parse(text)


@given(st.text())
def test_any_text_is_either_a_value_or_a_clear_refusal(text):
    parsers = (
        parameters.size_bytes,
        parameters.duration_seconds,
        parameters.share,
        parameters.shard,
        parameters.height_width,
        parameters.number,
        parameters.numbers,
        parameters.batch_size,
        parameters.names,
        parameters.assignment,
    )
    for parse in parsers:
        refusal = _refusal(parse, text)
        assert refusal is None or "expected" in refusal


def _refusal(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except ValueError as fault:
        return str(fault)
    return None


@given(st.text())
def test_a_constant_is_a_number_a_list_or_the_text_itself(text):
    value = parameters.constant(text)
    assert value == text or isinstance(value, int | float | list)


def test_a_constant_that_is_not_a_number_in_json_stays_text():
    assert parameters.constant("NaN") == "NaN"
    assert parameters.constant("Infinity") == "Infinity"
    assert parameters.constant('{"a": 1}') == '{"a": 1}'
    assert parameters.constant("[" * 100_000).startswith("[")


def test_a_name_given_twice_is_refused():
    with pytest.raises(click.UsageError, match="--set state is given twice"):
        parameters.table((("state", "0"), ("state", "1")), "--set")


def test_durations_and_sizes_are_finite_and_positive():
    assert parameters.duration_seconds("0.5s") == 0.5
    assert math.isfinite(parameters.duration_seconds("1d"))
    assert parameters.size_bytes("1B") == 1
