"""What verbs are told of proofs: for which inputs, of which neurons, how hard to try; checked before any work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from nla.certificates.domain_checks import range_of
from nla.certificates.domains import KINDS as DOMAINS
from nla.errors import UsageError, one_line
from nla.verbs.parcel import StrPath


@dataclass(frozen=True)
class Proof:
    """For which inputs silence is to be proved, and for how long to try.

    Raises UsageError: values of a wrong type, or out of their range.
    """

    domain: str | None = None
    box: str | Sequence[str] = ()
    ranges: StrPath | None = None
    margin: float = 0.0
    time_budget: float | None = 60.0

    def __post_init__(self) -> None:
        if self.domain is not None and self.domain not in DOMAINS:
            raise UsageError(f"no domain {one_line(self.domain)!r}; there are {', '.join(DOMAINS)}")
        for text in texts("box", self.box, "a range such as '0:1', or a list of such"):
            for part in text.rpartition("=")[2].split(","):
                range_of(text, part)
        check_path("ranges", self.ranges)
        if not (_is_number(self.margin) and math.isfinite(self.margin) and self.margin >= 0):
            raise UsageError(f"margin is {_shown(self.margin)}, expected a number from 0")
        budget = self.time_budget
        if budget is not None and not (_is_number(budget) and math.isfinite(budget) and budget > 0):
            raise UsageError(f"time budget is {_shown(budget)}, expected seconds above 0, or None for no end")

    @classmethod
    def asked(
        cls,
        certify: object,
        domain: str | None,
        box: str | Sequence[str],
        ranges: StrPath | None,
        margin: float,
        time_budget: float | None,
    ) -> Proof | None:
        """None where no proof is asked for. Raises UsageError: a domain is given nevertheless, or makes no sense."""
        made = cls(domain, box, ranges, margin, time_budget)
        if certify:
            return made
        given = {"domain": domain, "box": box or None, "ranges": ranges, "margin": margin or None}
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{name} says for which inputs silence is proved: ask for proofs with certify, or leave {name} out"
                )
        return None

    def plain(self) -> dict[str, Any]:
        """For the child process."""
        return {
            "domain": self.domain,
            "box": texts("box", self.box, ""),
            "ranges": None if self.ranges is None else os.fspath(self.ranges),
            "margin": float(self.margin),
            "time_budget": None if self.time_budget is None else float(self.time_budget),
        }


def check_path(what: str, given: object) -> None:
    """Raises UsageError unless it is the name of a file, or None."""
    if given is not None and not isinstance(given, str | os.PathLike):
        raise UsageError(f"{what} is {_shown(given)}, expected the name of a file")


def texts(what: str, given: object, expected: str) -> list[str]:
    """One text, or several, as a list. Raises UsageError: something else."""
    each = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [None]
    if not all(isinstance(text, str) for text in each):
        raise UsageError(f"{what} is {_shown(given)}, expected {expected}")
    return [text for text in each if isinstance(text, str)]


def whole(what: str, given: object) -> list[int]:
    """One whole number from 0, or several, as a list. Raises UsageError: something else."""
    each = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    found = [number for number in map(_natural, each) if number is not None]
    if len(found) != len(each):
        raise UsageError(f"{what} is {_shown(given)}, expected a whole number from 0, or a list of such")
    return found


def check_numbers(**given: object) -> None:
    """Raises UsageError unless each is a number, or None."""
    for name, value in given.items():
        if value is not None and not _is_number(value):
            raise UsageError(f"{name} is {_shown(value)}, expected a number")


def sizes_of(given: object) -> dict[str, list[int]]:
    """Sizes by input. Raises UsageError: something else."""
    if not isinstance(given, Mapping):
        raise UsageError(f"size is {_shown(given)}, expected sizes by input, such as {{'x': (1, 16)}}")
    found = {str(name): whole(f"size of {one_line(name, 40)}", sizes) for name, sizes in given.items()}
    for name, sizes in found.items():
        if not sizes or 0 in sizes:
            raise UsageError(f"size of {one_line(name, 40)} is {sizes}, expected whole numbers from 1")
    return found


def seed_of(given: object) -> int:
    """A seed. Raises UsageError: something else."""
    found = _natural(given)
    if found is None:
        raise UsageError(f"seed is {_shown(given)}, expected a whole number from 0")
    return found


def _natural(given: object) -> int | None:
    """A whole number from 0 of Python's or NumPy's; None: something else."""
    number = int(given) if isinstance(given, Integral) and not isinstance(given, bool) else -1
    return None if number < 0 else number


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """As Python writes it, in one line and not long."""
    return one_line(repr(value), 60)
