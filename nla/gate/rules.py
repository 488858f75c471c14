"""Rules: what is held to what limit, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from nla.errors import UsageError, one_line, printable
from nla.gate import limits
from nla.gate.limits import Limit
from nla.gate.metric import Metric
from nla.gate.metrics import METRICS
from nla.site import ROLES

SEVERITIES = ("error", "warning")
SCOPES = ("network", "layer")
KEYS = (
    *("metric", "max", "min", "baseline", "slack", "scope", "site", "role"),
    *("name", "severity", "message", "optional"),
)
"""Of a rule in TOML."""
DEFAULT_SLACK = "1%"
_LONGEST_TEXT = 300
_NONE = Limit(Fraction(0), "share")


@dataclass(frozen=True)
class Rule:
    """One sentence that a run is held to."""

    name: str
    """One among the rules of a gate."""
    metric: str
    """A name of METRICS."""
    scope: str
    """'network': the sites taken together; 'layer': each for itself."""
    comparison: str
    """'max' or 'min': the value itself holds. With `baseline`: which way is worse."""
    limit: Limit
    """With `baseline`: by how much the value may be worse than the baseline's."""
    baseline: bool = False
    site: str | None = None
    """A site's name, or a pattern with * and ?: these sites only."""
    role: str | None = None
    """Sites of this role only."""
    severity: str = "error"
    """'error', or 'warning', which is shown and never fails the gate."""
    message: str = ""
    """What the one who wrote the rule has to say where it does not hold."""
    optional: bool = False
    """Whether it may meet no site, or a metric that was not measured; else that is an error."""

    @property
    def measure(self) -> Metric:
        """The metric by itself."""
        return METRICS[self.metric]

    @property
    def needs_baseline(self) -> bool:
        """Whether it cannot be judged without a baseline."""
        return self.baseline or self.measure.needs == "baseline"

    @property
    def where(self) -> str:
        """Which sites, in words."""
        told = (self.site and f"matching {printable(self.site)}", self.role and f"of role {self.role}")
        which = " and ".join(filter(None, told))
        if self.scope == "layer":
            return f"each layer {which}".rstrip()
        return f"layers {which}, together" if which else "network"

    @property
    def wanted(self) -> str:
        """The limit in words."""
        if self.baseline:
            if not self.limit.exact:
                return "no worse than the baseline"
            return f"at most {self.limit} worse than the baseline"
        if self.measure.unit == "flag":
            return (
                "no"
                if self.comparison == "max" and not self.limit.exact
                else f"{self.comparison} {self.limit}"
            )
        counted = f" {self.measure.counts}" if self.limit.kind == "count" else ""
        return f"at {'most' if self.comparison == 'max' else 'least'} {self.limit}{counted}"

    def to_dict(self) -> dict[str, Any]:
        """As the document has it."""
        return {
            "name": self.name,
            "metric": self.metric,
            "scope": self.scope,
            "site": self.site,
            "role": self.role,
            "comparison": self.comparison,
            "limit": {"value": float(self.limit.exact), "kind": self.limit.kind},
            "baseline": self.baseline,
            "severity": self.severity,
            "message": self.message,
            "optional": self.optional,
            "words": f"{self.metric}, {self.where}: {self.wanted}",
        }


def from_mapping(given: Mapping[str, Any], where: str) -> Rule:
    """The rule that a table of rules.toml, or a mapping of the same keys, holds.

    Raises:
        UsageError: an unknown key, metric, scope, role or severity, a limit that is none, or keys that contradict each
            other; begins with `where` and names the key and its value.
    """
    for key in given:
        if key not in KEYS:
            raise UsageError(f"{where}: no key {one_line(repr(key), 80)}; {near(key, KEYS)}")
    texts = {key: _text(given, key, where) for key in ("metric", "scope", "site", "role", "name", "message")}
    if texts["metric"] is None:
        raise UsageError(
            f'{where}: metric is missing, such as metric = "dead"; `nla check --list` has them all'
        )
    metric = METRICS[_one_of(texts["metric"], METRICS, f"{where}: metric")]
    role = None if texts["role"] is None else _one_of(texts["role"], ROLES, f"{where}: role")
    against = _flag(given, "baseline", where)
    comparison, limit = _limit(given, metric, against, where)
    severity = _one_of(_text(given, "severity", where) or "error", SEVERITIES, f"{where}: severity")
    scope = _scope(texts["scope"], metric, bool(texts["site"] or role), where)
    rule = Rule(
        name="",
        metric=metric.name,
        scope=scope,
        comparison=comparison,
        limit=limit,
        baseline=against,
        site=texts["site"],
        role=role,
        severity=severity,
        message=texts["message"] or "",
        optional=_flag(given, "optional", where),
    )
    return replace(rule, name=texts["name"] or _named(rule))


def from_options(
    max_dead: object = None, max_dead_layer: object = None, min_effective_rank: object = None
) -> list[Rule]:
    """The rules of `--max-dead`, `--max-dead-layer` and `--min-effective-rank`. Raises UsageError."""
    given = (
        ("max-dead", "dead", "network", "max", max_dead),
        ("max-dead-layer", "dead", "layer", "max", max_dead_layer),
        ("min-effective-rank", "effective_rank", "layer", "min", min_effective_rank),
    )
    return [
        Rule(name, metric, scope, comparison, limits.parse(limit, METRICS[metric], name))
        for name, metric, scope, comparison, limit in given
        if limit is not None
    ]


def defaults() -> list[Rule]:
    """What holds where no rule was given: nothing that any served network should fail."""
    given: list[dict[str, Any]] = [
        {"metric": "network_dead", "max": 0},
        {"metric": "nonfinite", "max": 0},
        {"metric": "dead", "max": "10%"},
        {"metric": "dead", "scope": "layer", "max": "50%"},
        {"metric": "dead_rate_bound", "max": "1%", "severity": "warning"},
    ]
    return [from_mapping(each, "default") for each in given]


def of_baseline(slack: object = DEFAULT_SLACK) -> list[Rule]:
    """The rules of `--baseline`: dead shares and effective ranks no worse, each by the slack at most.

    That other neurons died than before is a warning: in a network that was trained anew no neuron is the one of before.
    """
    about: list[dict[str, Any]] = [
        {"metric": "dead", "baseline": True},
        {"metric": "dead", "scope": "layer", "baseline": True},
        {"metric": "effective_rank", "baseline": True, "optional": True},
    ]
    share = limits.parse(slack, METRICS["dead"], "baseline-slack")
    if not share.exact:
        share = replace(share, kind="share")
    if share.kind != "share":
        raise UsageError(
            f"baseline-slack: {one_line(repr(slack), 80)} is no share; expected one such as 1% or 0.01: it "
            "holds for the network, every layer and the effective rank alike"
        )
    rules = [replace(from_mapping(each, "baseline"), limit=share) for each in about]
    died = Rule("max-died", "died", "network", "max", share, severity="warning", optional=True)
    return [*rules, died]


def unique(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules with names that tell them apart: a second of one name gets a number."""
    seen: dict[str, int] = {}
    named = []
    for rule in rules:
        seen[rule.name] = count = seen.get(rule.name, 0) + 1
        named.append(rule if count == 1 else replace(rule, name=f"{rule.name} ({count})"))
    return tuple(named) if len({rule.name for rule in named}) == len(named) else unique(named)


def near(name: object, known: Sequence[str]) -> str:
    """What was perhaps meant, else all that there is."""
    close = get_close_matches(str(name), known, 2, 0.5)
    if close:
        return f"did you mean {' or '.join(map(printable, close))}?"
    return f"known are {', '.join(map(printable, known))}"


def _named(rule: Rule) -> str:
    """A name for a rule without: what it holds to, and where.

    >>> _named(from_mapping({"metric": "dead", "max": "5%", "site": "*fc*", "name": "x"}, ""))
    'max-dead-layer:*fc*'
    """
    start = "baseline" if rule.baseline else rule.comparison
    layer = "-layer" if rule.scope == "layer" and len(rule.measure.scopes) > 1 else ""
    which = ",".join(filter(None, (rule.site, rule.role and f"role={rule.role}")))
    return f"{start}-{rule.metric.replace('_', '-')}{layer}{':' if which else ''}{which}"


def _limit(given: Mapping[str, Any], metric: Metric, against: bool, where: str) -> tuple[str, Limit]:
    worse = "max" if metric.better == "low" else "min"
    if against:
        if metric.needs == "baseline":
            raise UsageError(
                f"{where}: {metric.name} compares with the baseline by itself: give max, not baseline"
            )
        for key in ("max", "min"):
            if key in given:
                raise UsageError(f"{where}: {key} and baseline = true exclude each other: give slack")
        slack = given.get("slack")
        return worse, _NONE if slack is None else limits.parse(slack, metric, f"{where}: slack")
    if "slack" in given:
        raise UsageError(f"{where}: slack is for rules with baseline = true")
    keys = [key for key in ("max", "min") if key in given]
    if len(keys) != 1:
        raise UsageError(
            f"{where}: {' and '.join(keys) or 'no limit'} for {metric.name}; expected one of max and min, such as "
            f"{worse} = {_example(metric)}, or baseline = true"
        )
    return keys[0], limits.parse(given[keys[0]], metric, f"{where}: {keys[0]}")


def _example(metric: Metric) -> str:
    if metric.unit != "share":
        return "0" if metric.better == "low" else "1000"
    return '"5%"' if metric.better == "low" else '"30%"'


def _scope(given: str | None, metric: Metric, narrowed: bool, where: str) -> str:
    if given is None:
        return "layer" if narrowed and "layer" in metric.scopes else metric.scopes[0]
    scope = _one_of(given, SCOPES, f"{where}: scope")
    if scope not in metric.scopes:
        raise UsageError(
            f'{where}: scope = "{scope}" makes no sense of {metric.name}; expected "{metric.scopes[0]}"'
        )
    return scope


def _one_of(given: str, known: Mapping[str, object] | Sequence[str], where: str) -> str:
    if given not in known:
        raise UsageError(f"{where} = {one_line(repr(given), 80)} is unknown; {near(given, list(known))}")
    return given


def _text(given: Mapping[str, Any], key: str, where: str) -> str | None:
    value = given.get(key)
    if key in given and not (isinstance(value, str) and value.strip() and len(value) <= _LONGEST_TEXT):
        told = one_line(repr(value), 80)
        raise UsageError(f"{where}: {key} = {told}; expected text of 1 to {_LONGEST_TEXT} characters")
    return value


def _flag(given: Mapping[str, Any], key: str, where: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{where}: {key} = {one_line(repr(value), 80)}; expected true or false")
    return value
