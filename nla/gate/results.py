"""What a gate found: each rule at each place, and whether all of them hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nla.gate import words
from nla.gate.metric import Metric
from nla.gate.rules import Rule
from nla.runs.run import Run


@dataclass(frozen=True)
class RuleResult:
    """One rule at one place of one run."""

    run: str
    """The run's label."""
    rule: Rule
    site: str | None
    """The site's name; None for the network, or for several sites taken together."""
    value: float
    """A share in [0, 1], or a number from 0."""
    count: int | None
    """What `value` is a share of `of` of; None where nothing was counted."""
    of: int | None
    limit: float
    """What `value` was compared with: a share or number; with a count as the limit, that count."""
    baseline: float | None
    """The same metric of the baseline; None where the rule does not compare."""
    held: bool
    evidence: str
    """What the value rests on."""

    @property
    def metric(self) -> Metric:
        """The metric of its rule."""
        return self.rule.measure

    @property
    def severity(self) -> str:
        """'error' or 'warning'."""
        return self.rule.severity

    @property
    def fails(self) -> bool:
        """Whether the gate fails for it."""
        return not self.held and self.severity == "error"

    @property
    def compared(self) -> float:
        """The value in the unit of the limit: the count where the limit is a count."""
        counts = self.rule.limit.kind == "count" and not self.rule.baseline
        return float(self.count or 0) if counts else self.value

    @property
    def excess(self) -> float:
        """By how much the limit is passed, in its unit; below 0 where there is room."""
        over = self.compared - self.limit
        return over if self.rule.comparison == "max" else -over

    @property
    def where(self) -> str:
        """The site, or which sites were taken together."""
        return self.rule.where if self.site is None else self.site

    @property
    def measured(self) -> str:
        """The value in words."""
        if self.metric.unit == "flag":
            return "yes" if self.value else "no"
        told = self._told[0]
        return told if self.count is None else f"{self.count:,} of {self.of:,} ({told})"

    @property
    def bound(self) -> str:
        """The limit in words."""
        if not self.rule.baseline and (self.rule.limit.kind == "count" or self.metric.unit == "flag"):
            return self.rule.wanted
        return f"at {'most' if self.rule.comparison == 'max' else 'least'} {self._told[1]}"

    @property
    def allowed(self) -> str:
        """The limit in words, and the baseline's value where that made it."""
        if self.baseline is None:
            return self.bound
        share = self.metric.unit == "share"
        then = words.percent(self.baseline) if share else words.number(self.baseline)
        return f"{self.bound} (baseline {then})"

    @property
    def sentence(self) -> str:
        """What is the case where, and what was to be."""
        return f"{self.where}: {self.metric.name} {self.measured}, expected {self.allowed}"

    @property
    def todo(self) -> str:
        """What to do where it does not hold."""
        return self.metric.todo

    @property
    def _told(self) -> tuple[str, str]:
        if self.rule.limit.kind == "count" and not self.rule.baseline:
            return words.percent(self.value), ""
        return words.apart(self.value, self.limit, share=self.metric.unit == "share")


@dataclass(frozen=True)
class Checked:
    """The result of `nla.check`: every rule with its measured value, and whether the gate holds."""

    runs: tuple[Run, ...]
    rules: tuple[Rule, ...]
    results: tuple[RuleResult, ...]
    """By run, then rule, then site, in the order of each."""
    baseline: Run | None = None
    by_default: bool = False
    """Whether no rule was given, so that the default rules were taken."""
    notes: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether every rule of severity error holds in every run: the exit code is 0."""
        return not self.failed

    @property
    def failed(self) -> tuple[RuleResult, ...]:
        """The results for which the gate fails."""
        return tuple(result for result in self.results if result.fails)

    @property
    def warned(self) -> tuple[RuleResult, ...]:
        """The warnings that do not hold."""
        return tuple(result for result in self.results if not result.held and not result.fails)

    def of(self, run: Run) -> tuple[RuleResult, ...]:
        """The results of one of the runs."""
        return tuple(result for result in self.results if result.run == run.label)

    def to_dict(self) -> dict[str, Any]:
        """The document, `schemas/check-1.schema.json`: plain values for strict JSON."""
        from nla.gate.document import document

        return document(self)


def synthetic(run: Run) -> bool:
    """Whether random numbers were replayed: of such a run nothing is known that a gate could rely on."""
    data: Mapping[str, Any] = run.data
    given = data.get("synthetic")
    return any(given) if isinstance(given, list) else bool(given)
