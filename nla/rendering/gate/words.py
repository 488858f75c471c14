"""What every format of a checked gate says in the same words."""

from __future__ import annotations

from nla.gate.results import Checked, RuleResult
from nla.lifecycle.results import path_of
from nla.rendering.words import counted, whole


def verdict(checked: Checked) -> str:
    """One line: whether the gate holds, and how many rules do not.

    A rule counts once for each place that it was held to.
    """
    failed, warned, checks = len(checked.failed), len(checked.warned), len(checked.results)
    runs = {result.run for result in checked.failed}
    where = (
        f" in {len(runs)} of {counted(len(checked.runs), 'run')}" if len(checked.runs) > 1 and failed else ""
    )
    warnings = f", {counted(warned, 'warning')}" if warned else ""
    if failed:
        return f"DOES NOT HOLD: {failed:,} of {counted(checks, 'check')} failed{where}{warnings}"
    return f"holds: {checks - warned:,} of {counted(checks, 'check')} passed{warnings}"


def advice(result: RuleResult) -> list[str]:
    """Sentences about a rule that does not hold: what is the case, what that rests on, what to do."""
    said = [whole(result.sentence), whole(result.evidence), whole(result.rule.message)]
    return [f"{sentence.rstrip('.')}." for sentence in [*said, f"To do: {result.todo}"] if sentence]


def file_of(checked: Checked, result: RuleResult) -> str:
    """The model file that the result is about; the run's own file where it does not name one."""
    run = next(run for run in checked.runs if run.label == result.run)
    return path_of(run.checkpoint) or run.path
