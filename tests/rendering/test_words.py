"""Numbers and names as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nla.rendering.words import counted, percent, several, short, short_names, size, whole


@given(st.floats(0, 1))
def test_a_share_is_never_rounded_to_nothing_or_to_everything(share):
    number = float(percent(share).removesuffix(" %"))
    assert (number == 0) == (share == 0) or share < 1e-12
    assert (number == 100) == (share == 1) or 1 - share < 1e-12
    assert math.isclose(number / 100, share, rel_tol=0.06, abs_tol=1e-13)


def test_a_share_that_is_not_known_says_so():
    assert percent(math.nan) == "unknown"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 neurons"), (1, "1 neuron"), (2, "2 neurons"), (12345, "12,345 neurons")]
)
def test_nouns_follow_their_number(number, text):
    assert counted(number, "neuron") == text


def test_sizes_have_a_unit():
    assert [size(n) for n in (0, 999, 1000, 1_867_392, 3e9, 5e15)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "1.87 MB",
        "3 GB",
        "5,000.0 TB",
    ]


def test_lists_name_the_first_few():
    assert several(["a"]) == "a"
    assert several(["a", "b"]) == "a and b"
    assert several(["a", "b", "c"]) == "a, b and c"
    assert several(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


@given(st.lists(st.text(min_size=1, max_size=80), max_size=8), st.integers(8, 60))
def test_short_names_fit_and_are_printable(names, width):
    for text in short_names(names, width):
        assert len(text) <= width
        assert text == whole(text)


@given(st.text(max_size=80), st.integers(4, 40))
def test_a_name_that_fits_stays_whole(name, width):
    assert short(name, max(width, len(whole(name)))) == whole(name)


def test_names_that_differ_in_their_middle_stay_apart():
    names = [f"/model/decoder/layers.{i}/mlp/act_fn/Mul_output_0" for i in range(48)]
    assert len(set(short_names(names, 16))) == 48


def test_an_escape_in_a_name_never_reaches_the_terminal():
    assert "\x1b" not in "".join(short_names(["\x1b[2J" * 20, "b" * 50], 30))
