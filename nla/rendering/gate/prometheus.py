"""A checked gate in Prometheus' text exposition format 0.0.4, for a textfile collector or a push gateway.

Gauges without timestamps: what was measured of every run and site, then every rule. A value that is not known has no
line. Label values are UTF-8 in which backslash, quotation mark and newline are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from nla.gate.results import Checked, RuleResult
from nla.rendering.words import whole
from nla.runs.run import Run, RunSite


@dataclass(frozen=True)
class _Family:
    """The samples of one metric, which must stand together."""

    name: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        known = [(labels, value) for labels, value in self.samples if math.isfinite(value)]
        if known:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} gauge"
        for labels, value in known:
            told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            yield f"{self.name}{{{told}}} {_number(value)}"


def render(checked: Checked) -> str:
    """All lines, in the order of runs, rules and sites."""
    families = [*_of_runs(checked), *_of_sites(checked), *_of_rules(checked)]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _of_runs(checked: Checked) -> Iterator[_Family]:
    told = {
        "nla_network_neurons": "Neurons of all sites.",
        "nla_network_dead_neurons": "Dead neurons of all sites.",
        "nla_network_dead_share": "Dead neurons among those of all sites, from 0 to 1.",
        "nla_check_held": "1 where every rule of severity error holds for the run, else 0.",
    }
    families = {name: _Family(name, text) for name, text in told.items()}
    for run in checked.runs:
        neurons, dead = run.summary["neurons"], run.summary["dead"]
        held = not any(result.fails for result in checked.of(run))
        values = (neurons, dead, dead / neurons if neurons else math.nan, held)
        for family, value in zip(families.values(), values, strict=True):
            family.samples.append(({"run": run.label}, float(value)))
    return iter(families.values())


def _of_sites(checked: Checked) -> Iterator[_Family]:
    told = {
        "nla_neurons": "Neurons of the site.",
        "nla_dead_neurons": "Neurons of the site that are dead.",
        "nla_dead_share": "Dead neurons among the site's, from 0 to 1.",
        "nla_samples": "Samples behind the verdicts on the site.",
        "nla_effective_rank": "Effective rank of the site's activations.",
    }
    families = {name: _Family(name, text) for name, text in told.items()}
    for run in checked.runs:
        for site in run.sites:
            for family, value in zip(families.values(), _site_values(site), strict=True):
                family.samples.append((_of_site(run, site), float(value)))
    return iter(families.values())


def _site_values(site: RunSite) -> tuple[float, ...]:
    return (site.neurons, site.counts["dead"], site.dead_share, site.samples, site.effective_rank)


def _of_site(run: Run, site: RunSite) -> dict[str, str]:
    return {"run": run.label, "site": site.name}


def _of_rules(checked: Checked) -> Iterator[_Family]:
    held = _Family("nla_check_rule_held", "1 where the rule holds at the site, else 0; no site: the network.")
    value = _Family("nla_check_rule_value", "What the rule is about, as it was measured.")
    limit = _Family("nla_check_rule_limit", "What the value is held to.")
    for result in checked.results:
        labels = _of_result(result)
        held.samples.append((labels, float(result.held)))
        value.samples.append((labels, result.compared))
        limit.samples.append((labels, result.limit))
    return iter((held, value, limit))


def _of_result(result: RuleResult) -> dict[str, str]:
    return {
        "run": result.run,
        "rule": result.rule.name,
        "metric": result.metric.name,
        "site": result.site or "",
        "severity": result.severity,
    }


def _escaped(text: str) -> str:
    r"""A label's value.

    >>> _escaped('a"b\\c')
    'a\\"b\\\\c'
    """
    return whole(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    """With all digits; a whole number without a point.

    >>> _number(0.3), _number(1280.0), _number(1e-7)
    ('0.3', '1280', '1e-07')
    """
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
