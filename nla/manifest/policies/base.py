"""What every policy is: a name, the states it is for, and what it would do to such units of a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import Inspection, SiteResult

Units = NDArray[np.int64]
Bools = NDArray[np.bool_]

LIVE = ("saturated", "dormant", "born", "specialised", "active")
"""States of units that vary."""


@dataclass(frozen=True)
class Options:
    """What policies may be told; each reads what concerns it."""

    fraction: float | None = None
    """strip, strip-contribution: share of a unit's incoming weights, in (0, 1]; None: the policy's own."""
    target_rate: float = 0.01
    """shift: share of positions on which the unit is to fire, in (0, 1]."""
    zero_outgoing: bool = False
    """shift: outgoing weights to zero, so that the output stays."""
    seed: int = 0
    """reset."""
    to: str | None = None
    """swap: the activation to take."""


@dataclass(frozen=True)
class Proposal:
    """What a policy would do at one site."""

    kind: str
    result: SiteResult
    units: Units
    """Ascending."""
    expect: str
    """What it does to the units and to the output, in words."""
    exact: bool
    """True where the output does not change on the evidence."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Those of a unit are arrays in the order of `units`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further evidence."""


@dataclass(frozen=True)
class Refusal:
    """Units that a policy leaves alone, and why."""

    kind: str
    result: SiteResult
    units: Units
    reason: str


Answers = list[Proposal | Refusal]


@dataclass(frozen=True)
class Policy:
    """One kind of action, and when it is proposed."""

    name: str
    summary: str
    propose: Callable[[SiteResult, Units, Inspection, Options], Answers]
    """What is done to these units of a site; every unit is in one answer at most."""
    states: tuple[str, ...] = ("dead",)
    """The states that it is for unless others are asked for."""
    by_evidence: bool = True
    """False where the evidence filters say nothing about it: the weights decide, or the whole layer."""
    alone: bool = False
    """True where no other policy may stand beside it: it changes what every later layer sees."""
    rewires: bool = False
    """True where the output changes on purpose, so that evidence of later layers no longer holds exactly."""


def split(units: Units, holds: Bools) -> tuple[Units, Units]:
    """The units for which a condition [neurons] holds, and the others."""
    return units[holds[units]], units[~holds[units]]


def refuse(kind: str, result: SiteResult, units: Units, reason: str) -> Answers:
    """One refusal; none where there are no units."""
    return [Refusal(kind, result, units, reason)] if len(units) else []
