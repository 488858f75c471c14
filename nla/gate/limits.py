"""Limits: a share, a count, or a plain number; exact, so that 5 % of 1,280 neurons is 64 and not nearly 64."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from nla.errors import UsageError, one_line
from nla.gate import words
from nla.gate.metric import Metric

_DECIMAL = re.compile(r"\d{1,15}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?|\.\d{1,30}", re.ASCII)
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)


@dataclass(frozen=True)
class Limit:
    """How much is allowed, as it was written."""

    exact: Fraction
    """From 0; a share lies in [0, 1]."""
    kind: str
    """'share', 'count' (of what the metric counts) or 'number'."""

    def __str__(self) -> str:
        value = float(self.exact)
        return words.percent(value) if self.kind == "share" else words.number(value)


def parse(given: object, metric: Metric, where: str) -> Limit:
    """The limit that text such as '5%' or '0.05', or a number, stands for.

    A whole number counts neurons (or what else the metric counts); everything else is a share of them.

    Args:
        given: text, an int or a float, from the command line, TOML or Python.
        metric: what the limit is for: shares, counts and numbers are not of one kind.
        where: how the message begins: the rule, or the file, the rule and the key.

    Raises:
        UsageError: not a limit, or one that no value of the metric could reach.
    """
    value, kind = _read(given)
    if value is not None:
        if metric.unit != "share":
            if kind != "percentage" and (metric.unit == "number" or value in (0, 1)):
                return Limit(value, "number")
        elif kind == "whole" and metric.counts:
            return Limit(value, "count")
        elif value <= 1:
            return Limit(value, "share")
    raise UsageError(f"{where}: {one_line(repr(given), 80)} is no limit; expected {_expected(metric)}")


def _read(given: object) -> tuple[Fraction | None, str]:
    """The exact value from 0, None where there is none, and how it is written: percentage, whole or decimal."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None, ""
    text = given.strip() if isinstance(given, str) else repr(given)
    bare = text.removesuffix("%").rstrip()
    if not _DECIMAL.fullmatch(bare):
        return None, ""
    value = Fraction(bare)
    if bare != text:
        return value / 100, "percentage"
    return value, "whole" if _WHOLE.fullmatch(bare) else "decimal"


def _expected(metric: Metric) -> str:
    if metric.unit == "flag":
        return f"0, for {metric.name} is no or yes, 0 or 1"
    if metric.unit == "number":
        return f"a number from 0, for {metric.name} is no share"
    if metric.counts:
        return f"a share such as 5% or 0.05, at most 100%, or a whole number of {metric.counts} such as 12"
    return "a share such as 30% or 0.3, at most 100%"
