"""Whether runs may be compared: the same criteria judged them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nla.errors import RecordingError, UsageError, printable
from nla.lifecycle.criteria import Criteria
from nla.runs.run import Run

FIXED = ("firing_threshold", "flat_derivative")
"""The criteria that a replay fixes: no recording can be judged by others."""


def values_of(run: Run) -> dict[str, float]:
    """The thresholds that the run was judged by, by name."""
    return {name: about["value"] for name, about in run.criteria.items()}


def criteria_for(judged: Sequence[Run], asked: Criteria | None) -> Criteria:
    """The criteria by which recordings are to be judged beside these runs, which no criteria can be changed of.

    Args:
        judged: runs of documents and inspections.
        asked: what the user gave; None where nothing was said.

    Raises:
        RecordingError: they were not judged by what was asked for, or by criteria that this version does not know.
    """
    if not judged:
        return asked or Criteria()
    first = judged[0]
    theirs = values_of(first)
    if asked is not None:
        unlike = {name: value for name, value in asked.to_dict().items() if name not in FIXED}
        name = _differing(unlike, {name: theirs[name] for name in theirs if name not in FIXED})
        if name is not None:
            raise RecordingError(
                f"{called(first)} was judged by {_said(name, theirs)}, not by {_said(name, unlike)}; give its "
                "recording, which is judged anew, or inspect again by these criteria"
            )
    try:
        return Criteria.from_dict(theirs, where=f"{called(first)}: criteria")
    except UsageError as error:
        raise RecordingError(f"{error}; it was made by another version of nla") from None


def check_agree(runs: Sequence[Run]) -> None:
    """Make sure that the same criteria judged all runs.

    Raises:
        RecordingError: two were judged by different ones; the message names them and the first criterion.
    """
    for other in runs[1:]:
        ours, theirs = values_of(runs[0]), values_of(other)
        name = _differing(ours, theirs)
        if name is None:
            continue
        mend = (
            f"the replay fixes it: inspect one of them again with --criterion {name}=VALUE"
            if name in FIXED
            else "give their recordings, which are judged anew, or inspect again by the same criteria"
        )
        raise RecordingError(
            f"{called(runs[0])} and {called(other)} were judged by different criteria: {_said(name, ours)} and "
            f"{_said(name, theirs)}; {mend}"
        )


def called(run: Run) -> str:
    """The run's file, or its label where it has none, for messages."""
    return printable(run.path or run.label)


def _differing(ours: Mapping[str, float], theirs: Mapping[str, float]) -> str | None:
    return next((n for n in dict.fromkeys((*ours, *theirs)) if ours.get(n) != theirs.get(n)), None)


def _said(name: str, values: Mapping[str, float]) -> str:
    return f"{printable(name, 60)} = {values[name]:g}" if name in values else f"no {printable(name, 60)}"
