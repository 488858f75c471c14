"""Rules against runs: where each looks, what is there, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction

from nla.errors import UsageError, printable
from nla.gate.baseline import counterparts
from nla.gate.metric import Measured, Place
from nla.gate.results import Checked, RuleResult, synthetic
from nla.gate.rules import Rule, near, unique
from nla.gate.words import counted
from nla.runs.run import Run, RunSite


def judge(
    runs: Sequence[Run], rules: Sequence[Rule], baseline: Run | None = None, *, by_default: bool = False
) -> Checked:
    """Every rule at every place of every run.

    Args:
        runs: one or more, with labels that tell them apart.
        rules: one or more; a second of one name gets a number.
        baseline: what rules that compare compare with.
        by_default: whether the rules are the default ones, for the reader to know.

    Raises:
        UsageError: a rule that meets no site, unless it is optional; a metric that was not measured, unless it is
            optional or another rule fails already; a rule that compares, and no baseline; a baseline of another
            architecture.
    """
    named = unique(rules)
    for rule in named:
        if rule.needs_baseline and baseline is None:
            raise UsageError(
                f"rule {printable(rule.name)} compares with a baseline: give one with --baseline RUN"
            )
    notes: list[str] = []
    results: list[RuleResult] = []
    for run in runs:
        if synthetic(run):
            notes.append(
                f"{run.label}: SYNTHETIC DATA: random numbers were replayed; nothing here is true of real inputs"
            )
        before: dict[str, RunSite] = {}
        if baseline is not None:
            before, said = counterparts(run, baseline)
            notes += said
        unjudged: list[str] = []
        of_run = [
            result for rule in named for result in _at_all(rule, run, baseline, before, notes, unjudged)
        ]
        if unjudged and not any(result.fails for result in of_run):
            raise UsageError(
                f"{unjudged[0]}; or let the rule pass over it with optional = true in rules.toml"
            )
        notes += [*unjudged, *_without_verdict(run)]
        if not of_run:
            raise UsageError(
                f"{printable(run.label)}: none of the {len(named)} rules could be judged, all being optional: a gate "
                "that checks nothing would always hold"
            )
        results += of_run
    return Checked(tuple(runs), named, tuple(results), baseline, by_default, tuple(dict.fromkeys(notes)))


def _at_all(
    rule: Rule,
    run: Run,
    baseline: Run | None,
    before: dict[str, RunSite],
    notes: list[str],
    unjudged: list[str],
) -> Iterator[RuleResult]:
    """The results of one rule in one run; a line in `notes` for what an optional one could not be held to, and in
    `unjudged` for any other."""
    for sites in _groups(rule, run):
        place = Place(run, sites, tuple(before[site.name] for site in sites) if before else ())
        measured = rule.measure.measure(place)
        against = _then(rule, baseline, place)
        missing = next(
            (each.missing for each in (measured, against) if each and math.isnan(each.value)), None
        )
        if missing is None:
            yield _result(rule, place, measured, against)
            continue
        where = rule.where if rule.scope == "network" else printable(sites[0].name)
        told = f"{printable(run.label)}: rule {printable(rule.name)} cannot be judged at {where}: {missing}"
        (notes if rule.optional else unjudged).append(told)


def _without_verdict(run: Run) -> Iterator[str]:
    """A note where neurons have no state: no share of states counts them."""
    unknown = run.summary["unknown"]
    if unknown:
        yield (
            f"{run.label}: {unknown:,} of {counted(run.summary['neurons'], 'neuron')} could not be judged, for no "
            "finite value was counted there: hold them to the metric unknown"
        )


def _groups(rule: Rule, run: Run) -> list[tuple[RunSite, ...]]:
    """The sites that the rule looks at, those taken together in one tuple."""
    sites = tuple(site for site in run.sites if _matches(rule, site))
    if not sites:
        if rule.optional:
            return []
        raise UsageError(
            f"{printable(run.label)}: rule {printable(rule.name)} meets no site; {_instead(rule, run)}"
        )
    return [sites] if rule.scope == "network" else [(site,) for site in sites]


def _matches(rule: Rule, site: RunSite) -> bool:
    named = rule.site is None or site.name == rule.site or fnmatchcase(site.name, rule.site)
    return named and rule.role in (None, site.role)


def _instead(rule: Rule, run: Run) -> str:
    if not run.sites:
        return "the run has none"
    if rule.site is not None and not any(_matches(replace(rule, role=None), site) for site in run.sites):
        return f"site = {printable(rule.site)!r} matches none: {near(rule.site, [site.name for site in run.sites][:8])}"
    roles = ", ".join(sorted({site.role for site in run.sites}))
    return f"role = {rule.role!r}, and its sites are of role {roles}; a rule that may meet none says optional = true"


def _then(rule: Rule, baseline: Run | None, place: Place) -> Measured | None:
    """The same metric of the same sites in the baseline; None for a rule that does not compare."""
    if not rule.baseline or baseline is None:
        return None
    return rule.measure.measure(Place(baseline, place.before))


def _result(rule: Rule, place: Place, measured: Measured, then: Measured | None) -> RuleResult:
    value = Fraction(measured.count or 0) if rule.limit.kind == "count" and then is None else _exact(measured)
    bound = rule.limit.exact if then is None else _bound(rule, then)
    return RuleResult(
        run=place.run.label,
        rule=rule,
        site=place.sites[0].name if rule.scope == "layer" else None,
        value=measured.value,
        count=measured.count,
        of=measured.of,
        limit=float(bound),
        baseline=None if then is None else then.value,
        held=value <= bound if rule.comparison == "max" else value >= bound,
        evidence=measured.evidence
        or f"{counted(place.neurons, 'neuron')} on {counted(place.samples, 'sample')}",
    )


def _bound(rule: Rule, then: Measured) -> Fraction:
    """How bad the value may be: the baseline's, and the slack."""
    slack = rule.limit.exact
    if rule.limit.kind == "count":
        slack /= then.of or 1
    return max(_exact(then) + (slack if rule.comparison == "max" else -slack), Fraction(0))


def _exact(measured: Measured) -> Fraction:
    """The counts' quotient; of a float the shortest decimal that is it, so that 3 / 10 is not below 30 %."""
    if measured.count is not None and measured.of:
        return Fraction(measured.count, measured.of)
    return Fraction(repr(float(measured.value)))
