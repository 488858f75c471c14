"""The order in which runs follow each other over a training.

A shell lists `3DBall-499147 3DBall-500147 3DBall-86881 3DBall`: runs whose names are the same but for a number are put
in the order of their numbers, and the run that bears the name alone, as trainers call the last checkpoint, comes last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePath

from nla.errors import UsageError, one_line, printable
from nla.runs.naming import natural_key, splits_of
from nla.runs.run import Run

ORDERS = ("auto", "given", "natural")
_SEPARATORS = "-_. "
_MOST_NAMED = 3


def ordered(runs: Sequence[Run], order: str = "auto") -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """The runs in their order, and what a reader should know of it; notes are sentences without a full stop.

    Args:
        runs: labelled, with the steps that are known.
        order: 'auto': by step where one series of names or a manifest gives them, else as given; 'given'; 'natural':
            by label, numbers in it counting as numbers.

    Raises:
        UsageError: another order.
    """
    labels = [run.label for run in runs]
    places, notes = in_order(labels, [run.step for run in runs], order, [run.path for run in runs])
    arranged = tuple(runs[place] for place in places)
    return arranged, (*notes, *same_checkpoint(arranged))


def in_order(
    labels: Sequence[str],
    steps: Sequence[int | None],
    order: str = "auto",
    paths: Sequence[str] = (),
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """As `ordered`, before there are runs: the places of those named, in their order, and notes.

    >>> in_order(["b-9", "b-10", "b"], [9, 10, None])[0], in_order(["b-10", "b", "b-9"], [10, None, 9])[0]
    ((0, 1, 2), (2, 0, 1))
    """
    every = tuple(range(len(labels)))
    if order not in ORDERS:
        raise UsageError(f"order {one_line(order)}: expected {', '.join(ORDERS)}")
    if order == "given":
        return every, ()
    if order == "natural":
        return tuple(sorted(every, key=lambda k: natural_key(labels[k]))), ()
    given = paths or [""] * len(labels)
    series = _series([_template(*each) for each in zip(labels, given, steps, strict=True)], steps)
    if isinstance(series, str):
        return every, (series,) if series else ()
    return _by_step(labels, given, steps, series)


def same_checkpoint(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note on each pair of neighbours, or further apart, that are one checkpoint."""
    known = [(run, run.checkpoint.get("digest")) for run in runs]
    twins = [
        (one, other) for (one, a), (other, b) in combinations(known, 2) if a == b and isinstance(a, str) and a
    ]
    notes = [
        f"{printable(one.label)} and {printable(other.label)} are the same checkpoint: their digests are equal"
        for one, other in twins[:_MOST_NAMED]
    ]
    more = len(twins) - _MOST_NAMED
    return (*notes, f"and {more} more pairs of runs are one checkpoint each") if more > 0 else tuple(notes)


def first_is_initial(runs: Sequence[Run]) -> bool | None:
    """Whether the first run is the checkpoint before training: True at step 0; None where that is not known."""
    return True if runs and runs[0].step == 0 else None


def _template(label: str, path: str, step: int | None) -> tuple[str, str] | None:
    """What stands around the step in the name; empty where the step is not from the name; None without a step."""
    if step is None:
        return None
    for split in splits_of(path, label):
        if split is not None and split[1] == step:
            return split[0], split[2]
    return "", ""


def _series(
    templates: Sequence[tuple[str, str] | None], steps: Sequence[int | None]
) -> tuple[str, str] | str:
    """What stands around the number in the names of the only series, or why there is no order by step ('': none)."""
    members: defaultdict[tuple[str, str], list[int | None]] = defaultdict(list)
    for template, step in zip(templates, steps, strict=True):
        if template is not None:
            members[template].append(step)
    series = [template for template, found in members.items() if len(found) > 1]
    if not series:
        return ""
    if len(members) > 1:
        named = " and ".join(printable(f"{prefix}N{suffix}", 60) for prefix, suffix in list(members)[:2])
        return f"the names follow several patterns ({named}), so that the runs stay in the order given"
    found = members[series[0]]
    if len(set(found)) < len(found):
        twice = next(step for step in found if found.count(step) > 1)
        return f"two runs bear the step {twice}, so that the runs stay in the order given"
    return series[0]


def _by_step(
    labels: Sequence[str], paths: Sequence[str], steps: Sequence[int | None], series: tuple[str, str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbered runs by step; the one of the bare name last; others where they were given."""
    bare = (series[0].rstrip(_SEPARATORS) + series[1]).rstrip(_SEPARATORS)
    every = range(len(labels))
    last = [k for k in every if steps[k] is None and bare and bare in (labels[k], PurePath(paths[k]).stem)]
    others = [k for k in every if k not in last]
    numbered = iter(sorted((k for k in others if steps[k] is not None), key=lambda k: steps[k] or 0))
    places = [k if steps[k] is None else next(numbered) for k in others]
    notes = [
        f"{printable(labels[k])} bears no step and comes last, as trainers name what they end with"
        for k in last
    ]
    stayed = [printable(labels[k]) for k in others if steps[k] is None]
    if stayed:
        more = f" and {len(stayed) - _MOST_NAMED} more" if len(stayed) > _MOST_NAMED else ""
        named = ", ".join(stayed[:_MOST_NAMED]) + more
        notes.append(f"{named}: no step in the name; left where given among those that are sorted by step")
    return (*places, *last), tuple(notes)
