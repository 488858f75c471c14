"""Which array feeds which input of the model, which are labels or a mask, and which are left over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nla.calibration import labels
from nla.calibration.derived import DERIVABLE, kind_of
from nla.calibration.options import CalibrationOptions
from nla.calibration.shapes import describe
from nla.calibration.source import Source
from nla.errors import DataError, printable
from nla.site import Input

ALIASES = ("x", "X", "data", "input", "inputs", "image", "images", "features")
"""Names under which people save the one array that is the input."""
AUTOMATIC_MASK = "attention_mask"
"""An array or input of this name says which positions count, unless told otherwise."""
_MOST_LISTED = 12


@dataclass(frozen=True)
class Matches:
    """What each array is for."""

    feeds: dict[str, str]
    """Model input -> array."""
    derived: tuple[str, ...]
    """Inputs that follow from the others: attention_mask and its like, absent from the data."""
    labels: str | None
    """Array of labels, where its name says so."""
    account: tuple[str, ...]


def match(source: Source, inputs: Sequence[Input], options: CalibrationOptions) -> Matches:
    """Arrays for `inputs` (those that are data); DataError that lists what is missing and how to name it."""
    account: list[str] = []
    feeds = _renamed(source, inputs, options)
    feeds |= {i: a for i, a in source.feeds.items() if i not in feeds}
    feeds |= {i.name: i.name for i in inputs if i.name not in feeds and _has(source, i.name)}
    label = _labels_name(source, set(feeds.values()))
    missing = [i for i in inputs if i.name not in feeds]
    free = [
        a for a in source.arrays if a not in {*feeds.values(), label} and not _is_mask(a, source, options)
    ]
    needed = [i for i in missing if kind_of(i) not in DERIVABLE] or (missing if not feeds else [])
    if len(needed) == 1 and (found := _single(free, alone=not feeds)):
        feeds[needed[0].name] = found
        if not source.anonymous:
            account.append(f"array {printable(found)!r} is taken as the input {printable(needed[0].name)!r}")
    derived = tuple(i.name for i in missing if i.name not in feeds and kind_of(i) in DERIVABLE)
    lacking = [i for i in missing if i.name not in feeds and i.name not in derived]
    if lacking or not feeds:
        raise DataError(_missing(source, lacking, inputs))
    unused = [
        a for a in source.arrays if a not in {*feeds.values(), label} and not _is_mask(a, source, options)
    ]
    if unused:
        account.append(f"not used: {_listing(source, unused)}")
    account += [f"not used: array {printable(a)!r}: {why}" for a, why in source.refused.items()]
    return Matches(feeds, derived, label, tuple(account))


def _renamed(source: Source, inputs: Sequence[Input], options: CalibrationOptions) -> dict[str, str]:
    names = [i.name for i in inputs]
    for name, array in options.rename.items():
        if name not in names:
            known = ", ".join(map(printable, names)) or "none"
            raise DataError(f"--input {printable(name)}: the model has no such data input; it has {known}")
        if not _has(source, array):
            raise DataError(f"--input {printable(name)}={printable(array)}: {_no_array(source, array)}")
    return dict(options.rename)


def _has(source: Source, name: str) -> bool:
    """Whether the data holds the array; DataError where it does, but cannot be read."""
    if name in source.refused:
        raise DataError(f"array {printable(name)!r} cannot be used: {source.refused[name]}")
    return name in source.arrays


def _no_array(source: Source, name: str) -> str:
    return f"the data has no array {printable(name)!r}; it has {_listing(source, source.arrays)}"


def _labels_name(source: Source, fed: set[str]) -> str | None:
    """The array whose name says that it is labels, if it is whole numbers or strings and not an input."""
    for name in labels.NAMES:
        if name in source.arrays and name not in fed and len(source.arrays) > 1:
            column = source.arrays[name]
            if column.dtype.kind in "biuUS" and len(column.shape) in (1, 2):
                return name
    return None


def _is_mask(name: str, source: Source, options: CalibrationOptions) -> bool:
    return name in (source.mask, AUTOMATIC_MASK) or (isinstance(options.mask, str) and name == options.mask)


def _single(free: list[str], *, alone: bool) -> str | None:
    """The array for the one input that is left: the only one there is, or the only one with a usual name."""
    if alone and len(free) == 1:
        return free[0]
    usual = [a for a in free if a in ALIASES]
    return usual[0] if len(usual) == 1 else None


def _listing(source: Source, names: Iterable[str]) -> str:
    columns = [(a, source.arrays[a]) for a in names]
    shown = [f"{printable(a, 60)} {c.dtype} {describe(c.shape)}" for a, c in columns[:_MOST_LISTED]]
    more = f" and {len(columns) - _MOST_LISTED} more" if len(columns) > _MOST_LISTED else ""
    return (", ".join(shown) or "no arrays") + more


def _missing(source: Source, lacking: Sequence[Input], inputs: Sequence[Input]) -> str:
    if not inputs:
        return "the model has no input that is data"
    if not source.arrays and source.refused:
        reasons = "; ".join(f"{printable(a)}: {why}" for a, why in list(source.refused.items())[:3])
        return f"the data holds no array that can be used: {reasons}"
    names = [printable(i.name) for i in lacking]
    first = lacking[0] if lacking else inputs[0]
    hint = f"Name the array for it: --input {printable(first.name)}=ARRAY"
    if len(inputs) > 1:
        hint += f", or, where it is not data, a constant: --set {printable(first.name)}=0"
    has = _listing(source, source.arrays)
    return f"no array for the model's input {', '.join(names)}. The data has {has}. {hint}"
