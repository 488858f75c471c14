"""Probabilities of life and of death, either of which may be as small as 2^-1,000,000 or as close to 1.

1 - 2^-n is 1.0 in float64 from n = 54 on, and (1 - 2^-n)^k is then no probability of death any more. So a chance is
kept as two logarithms to base 2, of the one and of the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_TINY = -64.0
"""log2 of a death that is so rare that 1 - ∏(1 - q) is the sum of the q to every digit of float64."""
_HALF = -math.log(2)


@dataclass(frozen=True)
class Chance:
    """The probability that something lives, and that it does not."""

    log2_alive: float
    """In [-inf, 0]."""
    log2_dead: float
    """In [-inf, 0]."""

    @property
    def alive(self) -> float:
        """In [0, 1]; 1.0 where death is rarer than float64 can tell from never: see `log2_dead`."""
        return math.pow(2.0, self.log2_alive)

    @property
    def dead(self) -> float:
        """In [0, 1], to full precision; 0.0 below 1e-308: see `log2_dead`."""
        return math.pow(2.0, self.log2_dead)

    def to_dict(self) -> dict[str, Any]:
        """`alive`, `dead` and their logarithms, null for that of 0."""
        logs = {"log2_alive": self.log2_alive, "log2_dead": self.log2_dead}
        finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        return {"alive": self.alive, "dead": self.dead, **finite}


NEVER = Chance(-math.inf, 0.0)
"""Of what is not known to live: at least this."""


def surviving(deaths: Iterable[tuple[float, int]]) -> Chance:
    """The chance of surviving independent dangers: (log2 of the probability of dying in one, how many such).

    ∏ (1 - q)^k, by log1p and expm1; where all q together are below 2^-64, death is their sum.

    >>> surviving([(-1.0, 2)]).alive, surviving([(-4000.0, 8)]).log2_dead
    (0.25, -3997.0)
    """
    dangers = [(log2, times) for log2, times in deaths if times > 0 and log2 > -math.inf]
    if not dangers:
        return Chance(0.0, -math.inf)
    parts = [log2 + math.log2(times) for log2, times in dangers]
    largest = max(parts)
    total = largest + math.log2(math.fsum(2.0 ** (part - largest) for part in parts))
    if total < _TINY:
        return Chance(0.0 - 2.0**total / math.log(2), total)
    if any(log2 >= 0 for log2, _ in dangers):
        return NEVER
    log_alive = math.fsum(times * math.log1p(-(2.0**log2)) for log2, times in dangers)
    return Chance(log_alive / math.log(2), _log_of_rest(log_alive) / math.log(2))


def _log_of_rest(log: float) -> float:
    """ln(1 - e^log), log < 0: by whichever of log1p and expm1 keeps the digits."""
    return math.log1p(-math.exp(log)) if log < _HALF else math.log(-math.expm1(log))
