"""The verb that holds runs to rules: check."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nla.errors import UsageError, one_line
from nla.gate.judging import judge
from nla.gate.results import Checked
from nla.gate.rules import DEFAULT_SLACK, Rule, defaults, from_mapping, from_options, of_baseline
from nla.gate.rules_file import read
from nla.lifecycle.criteria import Criteria
from nla.verbs.parcel import Progress, StrPath
from nla.verbs.runs import listed, open_runs

if TYPE_CHECKING:
    from nla.verbs.runs import RunLike

Allowed = str | float | int | None
"""A share such as '5%' or 0.05, or a count such as 12."""
Rules = StrPath | Rule | Mapping[str, Any] | Sequence[Rule | Mapping[str, Any]]


def check(
    runs: RunLike | Sequence[RunLike],
    *,
    max_dead: Allowed = None,
    max_dead_layer: Allowed = None,
    min_effective_rank: Allowed = None,
    rules: Rules = (),
    baseline: RunLike | None = None,
    baseline_slack: Allowed = None,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Checked:
    """Hold runs to rules: which hold, which do not, each with its measured value.

    Without any rule or baseline the default rules are taken, and the result says so.

    Args:
        runs: one or several: recordings, inspection documents, or inspections. Each must hold every rule.
        max_dead: most dead neurons in the network; a whole number counts them, everything else is a share.
        max_dead_layer: the same for each layer.
        min_effective_rank: least effective rank of each layer, as a share of its neurons.
        rules: a TOML file of rules, or one or several rules as mappings with the keys of a rule in TOML.
        baseline: a run that the others may not be worse than: dead shares and effective ranks.
        baseline_slack: by how much they may be worse all the same, a share; 1% where None.
        criteria: thresholds by which recordings are judged.
        memory_limit: bytes that the child process, which reads a file, may take.
        time_limit: seconds that reading one may take.
        in_process: read the files in this process, without limits.
        progress: called with a mapping as the work goes on.

    Raises:
        UsageError: a rule that is none, or that cannot be judged: no such site, a metric that was not measured.
        RecordingError: a file that is no run, or runs that were judged by different criteria.
        LimitError: a file crashed, stalled or exhausted a library underneath.
    """
    given = _rules(rules, from_options(max_dead, max_dead_layer, min_effective_rank))
    if baseline is None and baseline_slack is not None:
        raise UsageError("baseline-slack without a baseline; give one with --baseline RUN")
    if baseline is not None:
        given += of_baseline(DEFAULT_SLACK if baseline_slack is None else baseline_slack)
    by_default = not given
    given = given or defaults()
    wanted = listed(runs)
    opened = open_runs(
        [*wanted, *([] if baseline is None else listed([baseline]))],
        criteria,
        rows=any(rule.measure.needs in ("rows", "baseline") and not rule.optional for rule in given),
        ranks=any(rule.measure.needs == "ranks" for rule in given),
        memory_limit=memory_limit,
        time_limit=time_limit,
        in_process=in_process,
        progress=progress,
    )
    return judge(
        opened[: len(wanted)], given, opened[-1] if baseline is not None else None, by_default=by_default
    )


def _rules(rules: Rules, options: list[Rule]) -> list[Rule]:
    """The rules of the options, then those given in a file or one by one."""
    if isinstance(rules, str | os.PathLike):
        return [*options, *read(os.fspath(rules))]
    given = [rules] if isinstance(rules, Rule | Mapping) else rules
    if not isinstance(given, Iterable):
        raise UsageError(f"rules is {one_line(repr(rules), 60)}, expected a file, a rule, or a list of rules")
    for number, rule in enumerate(given, 1):
        if not isinstance(rule, Rule | Mapping):
            told = one_line(repr(rule), 60)
            raise UsageError(
                f"rule {number} is {told}: expected a mapping such as {{'metric': 'dead', 'max': '5%'}}"
            )
        options.append(rule if isinstance(rule, Rule) else from_mapping(rule, f"rule {number}"))
    return options
