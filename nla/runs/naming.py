"""What runs are called beside each other, and the training step that a name holds.

A label is the file's name without suffix, with as much of its folders in front as tells it from the others. A step is
the last whole number in a name, where another name is the same but for that number: epoch07 beside epoch08.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import PurePath

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:e[+-]?[0-9]+)?")
_LONGEST_STEP = 18
"""Digits: what 64 bits hold."""


def labels(paths: Sequence[str]) -> tuple[str, ...]:
    """A name for each path, no two the same; for the same path twice, the second is numbered.

    >>> labels(["runs/a/epoch07.h5", "runs/b/epoch07.h5", "runs/b/epoch08.h5"])
    ('a/epoch07', 'b/epoch07', 'epoch08')
    >>> labels(["run.h5", "run.json", "run.h5"])
    ('run.h5', 'run.json', 'run.h5 (2)')
    """
    places = [PurePath(os.path.abspath(path)) for path in paths]
    chosen = [place.stem or "run" for place in places]
    deepest = max((len(place.parts) for place in places), default=0)
    bare = [place.with_suffix("") if place.name else place for place in places]
    for depth in range(2, deepest + 1):
        for k in _repeated(chosen, bare):
            chosen[k] = "/".join((*places[k].parent.parts[1:][-(depth - 1) :], places[k].stem))
    for k in _repeated(chosen, places):  # one folder holds them both: they differ in their suffixes alone
        chosen[k] += places[k].suffix
    return _numbered(chosen)


def steps(paths: Sequence[str]) -> tuple[int | None, ...]:
    """The training step of each path, None where its name holds none.

    It is looked for in the names of the files, then, for files that are called alike, in those of their folders.

    >>> steps(["3DBall-499147.h5", "3DBall-86881.h5", "3DBall.h5"])
    (499147, 86881, None)
    >>> steps(["checkpoint-500/run.h5", "checkpoint-1000/run.h5"])
    (500, 1000)
    >>> steps(["lr0.1.h5", "lr0.01.h5"])
    (None, None)
    """
    splits = [splits_of(path, label) for path, label in zip(paths, labels(paths), strict=True)]
    of_files, of_folders = (_series([each[k] for each in splits]) for k in range(2))
    return tuple(
        first if first is not None else second for first, second in zip(of_files, of_folders, strict=True)
    )


Split = tuple[str, int, str]
"""What stands before the last whole number of a name, the number, and what stands behind it."""


def splits_of(path: str, label: str) -> tuple[Split | None, Split | None]:
    """Where a step may stand: in the file's name, or in those of the folders that its label begins with.

    What has no path (an inspection) is called by its label alone.
    """
    folders, _, name = label.rpartition("/")
    inner = split_number(folders)
    return split_number(PurePath(path).stem if path else name), None if inner is None else (
        *inner[:2],
        f"{inner[2]}/{name}",
    )


def split_number(name: str) -> Split | None:
    """What stands before the last whole number, the number, and what stands behind it; None without one.

    >>> split_number("resnet50-epoch07"), split_number("lr0.1")
    (('resnet50-epoch', 7, ''), None)
    """
    whole = [found for found in _NUMBER.finditer(name) if found.group().isdigit()]
    if not whole or len(whole[-1].group()) > _LONGEST_STEP:
        return None
    last = whole[-1]
    return name[: last.start()], int(last.group()), name[last.end() :]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key by which numbers in names count as numbers.

    >>> sorted(["epoch10", "epoch9"], key=natural_key)
    ['epoch9', 'epoch10']
    """
    parts = re.split(r"([0-9]{1,4000})", name)
    return tuple((0, int(part), part) if k % 2 else (1, 0, part) for k, part in enumerate(parts))


def _series(splits: Sequence[Split | None]) -> list[int | None]:
    """The number of each name that another shares everything but the number with."""
    numbers: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for split in splits:
        if split is not None:
            numbers[split[0], split[2]].add(split[1])
    return [None if s is None or len(numbers[s[0], s[2]]) < 2 else s[1] for s in splits]


def _repeated(chosen: Sequence[str], places: Sequence[PurePath]) -> list[int]:
    """The names that stand for more than one path."""
    behind: defaultdict[str, set[Hashable]] = defaultdict(set)
    for name, place in zip(chosen, places, strict=True):
        behind[name].add(place)
    return [k for k, name in enumerate(chosen) if len(behind[name]) > 1]


def _numbered(chosen: Iterable[str]) -> tuple[str, ...]:
    """Each name once: the second of one name is `name (2)`."""
    made: dict[str, None] = {}
    for name in chosen:
        number, unique = 1, name
        while unique in made:
            number += 1
            unique = f"{name} ({number})"
        made[unique] = None
    return tuple(made)
