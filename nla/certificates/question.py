"""What a method is asked: upper bounds of some elements of a pre-activation, and the time that they may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nla.certificates.interval import Ranges
from nla.certificates.network import Network
from nla.certificates.rounding import Floats


@dataclass
class Budget:
    """Seconds that the work may take; None: no end."""

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    def spent(self) -> bool:
        """Whether the time is over."""
        left = self.remaining()
        return left is not None and left <= 0

    def remaining(self) -> float | None:
        """Seconds that are left; None: no end."""
        return None if self.seconds is None else self.seconds - (time.monotonic() - self.started)


@dataclass(frozen=True)
class Question:
    """Elements of one tensor whose upper bounds over the domain are asked for."""

    network: Network
    """Lowered."""
    known: Ranges
    """Boxes of every tensor, the tighter the better."""
    tensor: str
    places: NDArray[np.int64]
    """[k] flat, in the tensor's shape of one sample."""
    enough: float = 0.0
    """Bounds at or below it need no more work: the threshold of silence."""
    budget: Budget = field(default_factory=Budget)
    """What is not done when it is spent keeps the bound of its box."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Told what is done of all."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample of the tensor."""
        return self.network.shapes[self.tensor]

    @property
    def held(self) -> Floats:
        """[k] the upper bounds that the tensor's own box gives."""
        return np.asarray(self.known.boxes[self.tensor].hi.ravel()[self.places])
