"""What may happen to a neuron between two runs, in words that mean one thing each.

A neuron whose state is `unknown` on either side (no value was counted) has no event but `unjudged`. Several events may
meet in one neuron: from saturated to dead it died, and is no longer saturated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.str_]
Bools = NDArray[np.bool_]

_AWAKE = ("active", "specialised", "saturated", "born")
_MEANINGS: dict[str, tuple[str, Callable[[States, States], Bools]]] = {
    "died": ("not dead before, dead after", lambda a, b: (a != "dead") & (b == "dead")),
    "revived": ("dead before, not dead after", lambda a, b: (a == "dead") & (b != "dead")),
    "saturated": ("saturated after, and not before", lambda a, b: (a != "saturated") & (b == "saturated")),
    "desaturated": ("saturated before, and not after", lambda a, b: (a == "saturated") & (b != "saturated")),
    "woke": (
        "dormant before; active, specialised, saturated or born after",
        lambda a, b: (a == "dormant") & np.isin(b, _AWAKE),
    ),
    "fell_dormant": (
        "active, specialised, saturated or born before; dormant after",
        lambda a, b: np.isin(a, _AWAKE) & (b == "dormant"),
    ),
    "became_constant": ("constant after, and not before", lambda a, b: (a != "constant") & (b == "constant")),
    "left_constant": ("constant before, and not after", lambda a, b: (a == "constant") & (b != "constant")),
    "specialised": (
        "specialised after, and not before",
        lambda a, b: (a != "specialised") & (b == "specialised"),
    ),
    "generalised": ("specialised before, active after", lambda a, b: (a == "specialised") & (b == "active")),
    "left_born": ("born before, and not after", lambda a, b: (a == "born") & (b != "born")),
}

EVENTS = tuple(_MEANINGS)
"""In the order in which they are told."""


def events(before: States, after: States) -> dict[str, Bools]:
    """By event [neurons] True where it happened, and `changed` and `unjudged` beside them.

    >>> found = events(np.array(["active", "dead", "dead"]), np.array(["dead", "dormant", "unknown"]))
    >>> [name for name, where in found.items() if where.any()]
    ['changed', 'died', 'revived', 'unjudged']
    """
    unjudged = (before == "unknown") | (after == "unknown")
    found = {"changed": (before != after) & ~unjudged}
    found |= {name: holds(before, after) & ~unjudged for name, (_, holds) in _MEANINGS.items()}
    return {**found, "unjudged": unjudged}


def meaning(event: str) -> str:
    """What the event says of the states before and after. Raises KeyError."""
    return _MEANINGS[event][0]
