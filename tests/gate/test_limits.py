"""Limits: what is one, which kind, and that decimals are exact."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nla.errors import UsageError
from nla.gate.limits import parse
from nla.gate.metrics import METRICS
from nla.gate.words import apart, percent

DEAD, RANK, SAMPLES = METRICS["dead"], METRICS["effective_rank"], METRICS["samples"]


@pytest.mark.parametrize(
    ("given", "metric", "exact", "kind"),
    [
        ("5%", DEAD, Fraction(1, 20), "share"),
        (" 5 % ", DEAD, Fraction(1, 20), "share"),
        ("0.05", DEAD, Fraction(1, 20), "share"),
        (0.05, DEAD, Fraction(1, 20), "share"),
        ("14.3%", DEAD, Fraction(143, 1000), "share"),
        ("1e-3", DEAD, Fraction(1, 1000), "share"),
        ("100%", DEAD, Fraction(1), "share"),
        ("1.0", DEAD, Fraction(1), "share"),
        (1.0, DEAD, Fraction(1), "share"),
        ("1", DEAD, Fraction(1), "count"),
        (12, DEAD, Fraction(12), "count"),
        ("0", DEAD, Fraction(0), "count"),
        ("1", RANK, Fraction(1), "share"),
        (".3", RANK, Fraction(3, 10), "share"),
        ("1000", SAMPLES, Fraction(1000), "number"),
        (2.5, SAMPLES, Fraction(5, 2), "number"),
        (1, METRICS["network_dead"], Fraction(1), "number"),
    ],
)
def test_a_whole_number_counts_and_everything_else_is_a_share(given, metric, exact, kind):
    limit = parse(given, metric, "x")
    assert (limit.exact, limit.kind) == (exact, kind)


WORDS = ["many", "", "%", "nan", "inf", "NaN%", "5%%", "٥%", "1_000", "0x1", "1e999", "9" * 40]
TOO_LARGE = ["-1", "-5%", "101%", "100.01%", "1.5", -1, 1.5, float("nan"), float("inf"), -0.1]
OF_OTHER_TYPES = [True, None, [5], {"max": 1}, b"5%"]


@pytest.mark.parametrize("given", [*WORDS, *TOO_LARGE, *OF_OTHER_TYPES])
def test_what_is_no_limit_is_refused_with_what_was_expected(given):
    with pytest.raises(
        UsageError, match=r"^here: .* is no limit; expected a share such as 5% or 0.05.*neurons"
    ):
        parse(given, DEAD, "here")


@pytest.mark.parametrize(
    ("given", "metric", "expected"),
    [
        ("2", RANK, "at most 100%"),
        ("10%", SAMPLES, "samples is no share"),
        ("2", METRICS["network_dead"], "0 or 1"),
    ],
)
def test_a_limit_of_another_kind_is_refused(given, metric, expected):
    with pytest.raises(UsageError, match=expected):
        parse(given, metric, "here")


def test_an_error_is_one_line_whatever_was_given():
    with pytest.raises(UsageError) as raised:
        parse("5\n\x1b[31m" * 1000, DEAD, "here")
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_values_that_differ_from_their_limit_look_different():
    assert apart(0.2 + 1e-12, 0.2, share=True)[0] != "20 %"
    assert apart(0.2, 0.2, share=True) == ("20 %", "20 %")
    assert apart(100_001, 100_000, share=False) == ("100,001", "100,000")


def test_nearly_all_is_not_all():
    assert percent(0.9999999) == "99.99999 %"
    assert percent(1) == "100 %"
