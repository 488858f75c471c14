"""Ranges of inputs from a property in VNN-LIB 1.0, the files of the verifiers' competition (.vnnlib).

Of `(assert (<= X_0 0.5))`, and of `and` and `or` over such, what is kept is the box around all X that the property
allows. What it says of outputs, Y, narrows nothing here and is left out, and so is what it says of two X together; the
box is then larger than the property's own set, which is sound: what is proved of the box holds on all of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nla.certificates.domain_checks import Shape, listed
from nla.certificates.rounding import Floats
from nla.errors import UsageError, printable

_LARGEST = 1 << 26
"""Bytes of a file: a property of an image of 224 x 224 pixels has twelve million."""
_DEEPEST = 64
_TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_VARIABLE = re.compile(r"([XY])_(\d{1,9})")
_TURNED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "=": "="}

Form = str | list["Form"]
Bounds = dict[int, tuple[float, float]]
"""By number of an input, its ends; where it is missing nothing is said."""


@dataclass
class _Read:
    """What a file says, so far."""

    shown: str
    declared: set[int] = field(default_factory=set)
    bounds: Bounds = field(default_factory=dict)
    alternatives: int = 1
    """The most that one `or` has of which one speaks of inputs."""
    outputs: bool = False
    relations: bool = False

    def form(self, form: Form) -> None:
        """A form at the top of the file. Raises UsageError."""
        match form:
            case ["declare-const", str(name), str()] | ["declare-fun", str(name), [], str()]:
                if self.variable(name)[0] == "X":
                    self.declared.add(self.variable(name)[1])
            case ["assert", claim]:
                _meet(self.bounds, self.claim(claim))
            case ["vnnlib-version", *_] | ["declare-network", *_]:
                raise UsageError(f"{self.shown}: VNN-LIB 2 is not read: write the property in VNN-LIB 1.0")
            case ["set-logic", *_] | ["set-info", *_] | ["check-sat"] | ["get-model"] | ["exit"]:
                pass
            case _:
                raise UsageError(f"{self.shown}: '{_text(form)}' is neither declare-const nor assert")

    def variable(self, name: str) -> tuple[str, int]:
        found = _VARIABLE.fullmatch(name)
        if found is None:
            raise UsageError(
                f"{self.shown}: '{printable(name[:40])}' is no variable X_0, X_1, … or Y_0, Y_1, …"
            )
        return found[1], int(found[2])

    def claim(self, form: Form) -> Bounds:
        """The box around all X that the claim allows. Raises UsageError."""
        match form:
            case ["and", *parts]:
                made: Bounds = {}
                for part in parts:
                    _meet(made, self.claim(part))
                return made
            case ["or", first, *rest]:
                boxes = [self.claim(part) for part in (first, *rest)]
                if any(boxes):
                    self.alternatives = max(self.alternatives, len(boxes))
                return _around(boxes)
            case [str(sign), left, right] if sign in _TURNED:
                return self._compared(form, sign, left, right)
        raise UsageError(f"{self.shown}: '{_text(form)}' is no comparison, 'and' or 'or'")

    def _compared(self, form: Form, sign: str, left: Form, right: Form) -> Bounds:
        left_number, right_number = self._number(left), self._number(right)
        if left_number is not None:
            sign, left, right_number = _TURNED[sign], right, left_number
        kinds = {self.variable(name)[0] for name in _names(left)} | {
            self.variable(name)[0] for name in _names(right)
        }
        if not kinds:
            raise UsageError(f"{self.shown}: '{_text(form)}' compares no variable")
        if "Y" in kinds:
            self.outputs = True
            return {}
        if right_number is None or not isinstance(left, str):
            self.relations = True
            return {}
        if not math.isfinite(right_number):
            raise UsageError(f"{self.shown}: '{_text(form)}' bounds by what is no finite number")
        low = -math.inf if sign in ("<=", "<") else right_number
        high = math.inf if sign in (">=", ">") else right_number
        return {self.variable(left)[1]: (low, high)}

    def _number(self, form: Form) -> float | None:
        """A number, or (- number); None where it is something with a variable."""
        match form:
            case ["-", str(digits)] if _NUMBER.fullmatch(digits):
                return -float(digits)
            case str(digits) if _NUMBER.fullmatch(digits):
                return float(digits)
        return None

    def ends(self, size: int) -> tuple[Floats, Floats]:
        """[size] each. Raises UsageError: other variables than the model has elements, one without a bound."""
        known = self.declared | set(self.bounds)
        if known != set(range(size)):
            most = max(known, default=-1) + 1
            why = (
                f"speaks of X_0 to X_{most - 1}"
                if most != size
                else f"does not speak of X_{_missing(known, size)}"
            )
            raise UsageError(
                f"{self.shown}: {why if known else 'speaks of no X'}; the model's inputs have {size:,} elements"
            )
        lo, hi = (
            np.array([self.bounds.get(k, (-math.inf, math.inf))[end] for k in range(size)]) for end in (0, 1)
        )
        for end, which in ((lo, "lower"), (hi, "upper")):
            if not np.isfinite(end).all():
                raise UsageError(f"{self.shown}: X_{int(np.argmin(np.isfinite(end)))} has no {which} bound")
        return lo, hi

    def source(self, path: str) -> str:
        """The file, and what of it was left out, for the sentence that states the domain."""
        notes = [path]
        if self.alternatives > 1:
            notes.append(f"the box around {self.alternatives} alternatives")
        if self.relations:
            notes.append("relations between inputs left out")
        if self.outputs:
            notes.append("claims about outputs left out")
        return notes[0] + (f" ({', '.join(notes[1:])})" if notes[1:] else "")


def read(path: Path, shapes: Mapping[str, Shape]) -> tuple[dict[str, Floats], str]:
    """(`INPUT.lo` and `INPUT.hi` for each input, the source in words); X are the elements of the inputs, one after
    the other.

    Raises:
        UsageError: it is too large, is nested too deep, is no VNN-LIB 1.0, or does not fit the model.
        OSError, ValueError: it cannot be read, or is no text.
    """
    shown = printable(path)
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"{shown}: more than {_LARGEST >> 20} MiB")
    if not shapes:
        raise UsageError(f"{shown}: the model has no input that takes data: {listed(shapes)}")
    found = _Read(shown)
    for form in _forms(path.read_text("utf-8"), shown):
        found.form(form)
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes.values()]
    lo, hi = (np.split(end, np.cumsum(sizes)[:-1]) for end in found.ends(sum(sizes)))
    made = {}
    for (name, shape), low, high in zip(shapes.items(), lo, hi, strict=True):
        made.update({f"{name}.lo": low.reshape(shape), f"{name}.hi": high.reshape(shape)})
    return made, found.source(str(path))


def _forms(text: str, shown: str) -> Iterator[Form]:
    """The forms at the top of the file, one after the other. Raises UsageError."""
    open_: list[list[Form]] = []
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "(":
                open_.append([])
                if len(open_) > _DEEPEST:
                    raise UsageError(f"{shown}: brackets nested more than {_DEEPEST} deep")
            case ")":
                if not open_:
                    raise UsageError(
                        f"{shown}: a bracket closes that was not opened, at character {token.start():,}"
                    )
                done = open_.pop()
                if open_:
                    open_[-1].append(done)
                else:
                    yield done
            case word if not word.startswith(";"):
                if not open_:
                    raise UsageError(
                        f"{shown}: '{printable(word[:40])}' outside of brackets: expected VNN-LIB"
                    )
                open_[-1].append(word)
    if open_:
        raise UsageError(f"{shown}: the file ends within {len(open_)} open brackets")


def _meet(known: Bounds, other: Bounds) -> None:
    """Narrow what is known by what holds as well."""
    for k, (low, high) in other.items():
        before = known.get(k, (-math.inf, math.inf))
        known[k] = max(before[0], low), min(before[1], high)


def _around(boxes: list[Bounds]) -> Bounds:
    """What holds where any one of them does."""
    return {
        k: (min(box[k][0] for box in boxes), max(box[k][1] for box in boxes))
        for k in boxes[0]
        if all(k in box for box in boxes)
    }


def _names(form: Form) -> Iterator[str]:
    """The variables of an expression: every word but numbers and what stands first in brackets."""
    if isinstance(form, str):
        if not _NUMBER.fullmatch(form):
            yield form
        return
    for part in form[1:]:
        yield from _names(part)


def _missing(known: set[int], size: int) -> int:
    return next(k for k in range(size) if k not in known)


def _text(form: Form) -> str:
    """The beginning of a form, as it is written."""

    def written(part: Form, room: int) -> str:
        if isinstance(part, str) or not room:
            return part if isinstance(part, str) else "(…)"
        return f"({' '.join(written(each, room - 1) for each in part[:4])}{' …' if len(part) > 4 else ''})"

    return printable(written(form, 2)[:60])
