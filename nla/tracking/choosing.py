"""Which of the runs that were given make one series: of one architecture, on the same data, each checkpoint once."""

from __future__ import annotations

from collections.abc import Sequence

from nla.errors import UsageError, printable
from nla.runs.run import Run
from nla.tracking.matching import match

Chosen = tuple[tuple[Run, ...], tuple[str, ...]]
"""The runs that stay, in their order, and notes on the others."""
FEWEST = 2


def without_repeats(runs: Sequence[Run]) -> Chosen:
    """Each checkpoint once, by its digest: under the name with a training step, else under the first.

    Trainers write the last checkpoint again under the bare name of the run. Between the two nothing can change, and
    the transitions would count every neuron as staying.
    """
    kept: dict[object, Run] = {}
    for place, run in enumerate(runs):
        digest = run.checkpoint.get("digest") or place
        if digest not in kept or (kept[digest].step is None and run.step is not None):
            kept[digest] = run
    stay = [run for run in runs if any(run is each for each in kept.values())]
    notes = [
        f"{run.label} is left out: the same checkpoint as {kept[run.checkpoint['digest']].label}"
        for run in runs
        if not any(run is each for each in stay)
    ]
    return tuple(stay), tuple(notes)


def of_one_architecture(runs: Sequence[Run], skip: bool) -> Chosen:
    """The runs with the sites of the first; others are refused by name, or with `skip` left out and noted.

    Raises:
        UsageError: runs that do not fit.
    """
    unlike = {id(run): why for run in runs[1:] if (why := _misfit(runs[0], run))}
    if unlike and not skip:
        named = [run for run in runs if id(run) in unlike]
        labels = ", ".join(printable(run.label, 60) for run in named[:5]) + (", …" if len(named) > 5 else "")
        raise UsageError(
            f"{len(named)} of {len(runs)} runs are of another architecture than {printable(runs[0].label)} ({labels}): "
            f"{unlike[id(named[0])]}; --skip-unlike leaves them out"
        )
    notes = [f"{run.label} is left out: {unlike[id(run)]}" for run in runs if id(run) in unlike]
    return tuple(run for run in runs if id(run) not in unlike), tuple(notes)


def _misfit(first: Run, run: Run) -> str | None:
    """What of two runs does not fit; None where all does."""
    try:
        matching = match(first, run, common_only=True)
    except UsageError as error:
        return str(error).partition(";")[0]
    if len(matching.pairs) == len(first.sites) == len(run.sites):
        return None
    return next(note.removeprefix("left out: ") for note in matching.notes if note.startswith("left out: "))


def enough(runs: Sequence[Run], notes: Sequence[str]) -> None:
    """Raises UsageError where fewer than two steps are left."""
    if len(runs) < FEWEST:
        why = f" ({notes[0]})" if notes else ""
        raise UsageError(f"one checkpoint only is left of the series{why}: states over time need two or more")
