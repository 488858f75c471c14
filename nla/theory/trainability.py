"""How likely a network is to be born trainable: its ReLU layers, which of them count, and where it is thin.

Skip connections: a network lives while one path through it lives, so that only layers which every path crosses can
kill it alone (upper bound), and the layers of the path that is least in danger are all that must live (lower bound).
For identity skips that is the paper's shortest path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nla.theory.bounds import NOT_COVERED, Bounds, bounds
from nla.theory.chances import NEVER, surviving
from nla.theory.layers import Layer
from nla.theory.widths import Width, width_for

SCHEMA = "nla/trainability/1"
_CONVOLUTIONS = (
    "convolutions: one image has many patches, so it lives more often than the lower bound says; and without biases "
    "the bound wants every position to be read by some kernel"
)
_BIASES = (
    "whether biases were drawn or began at zero: a checkpoint does not tell; they are taken as drawn, and --no-bias "
    "takes them as zero"
)


@dataclass(frozen=True)
class Placed:
    """A ReLU layer and its place in the network."""

    layer: Layer
    on_every_path: bool = True
    """False where a skip connection or a branch leads round it."""
    on_shortest: bool = True
    """True where it lies on the path that is least in danger: the lower bound counts it."""
    certain: str = ""
    """Why all its weights being negative would not kill it for sure; "" where it would: the upper bound counts it."""
    convolution: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `not_certain` is null where it is certain."""
        return {
            **self.layer.to_dict(),
            "convolution": self.convolution,
            "on_every_path": self.on_every_path,
            "on_shortest_path": self.on_shortest,
            "not_certain": self.certain or None,
        }


@dataclass(frozen=True)
class Uncovered:
    """A layer of neurons, or an operator that may silence them, of which the bounds say nothing."""

    name: str
    activation: str
    """The operator's kind where it is none."""
    neurons: int
    """0 where they are not known."""
    reason: str
    in_the_way: bool = False
    """True where it may silence the network and no path leads round it: no lower bound holds then."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Trainability:
    """Bounds of the probability that a network is born alive."""

    layers: tuple[Placed, ...]
    """ReLU layers, in graph order; alike ones in a row stand as one entry."""
    bounds: Bounds
    shares: tuple[float, ...]
    """Of each entry: its part of -ln of the lower bound, Σ = 1; 0 where the bound does not count it."""
    width: Width | None
    """What a wanted probability asks of so many layers alike."""
    non_negative: bool
    orthogonal: bool
    uncovered: tuple[Uncovered, ...] = ()
    checkpoint: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Layers that must live: those of the shortest path."""
        return sum(placed.layer.times for placed in self.layers if placed.on_shortest)

    @property
    def thin(self) -> tuple[int, ...]:
        """The entries by their share of the danger, largest first, until they hold nine tenths of it."""
        found, held = [], 0.0
        for at in sorted(range(len(self.shares)), key=lambda at: -self.shares[at]):
            if held >= 0.9 or not self.shares[at]:
                break
            found.append(at)
            held += self.shares[at]
        return tuple(found)

    @property
    def in_the_way(self) -> tuple[str, ...]:
        """Layers that may silence the network, of which nothing is known: with one there is no lower bound."""
        return tuple(each.name for each in self.uncovered if each.in_the_way)

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the bounds do not speak of, here."""
        said = list(NOT_COVERED)
        if any(placed.convolution for placed in self.layers):
            said.append(_CONVOLUTIONS)
        if self.checkpoint is not None and any(placed.layer.bias for placed in self.layers):
            said.append(_BIASES)
        if not self.orthogonal:
            said.append(
                "orthogonal initialisation: the lower bound holds, the upper does not (--orthogonal leaves it out)"
            )
        return tuple(said)

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values."""
        return {
            "schema": SCHEMA,
            "checkpoint": self.checkpoint,
            "summary": {
                "layers": self.depth,
                "non_negative": self.non_negative,
                "orthogonal": self.orthogonal,
                **self.bounds.to_dict(),
                "flips_keep": None if self.checkpoint is not None else f"ceil(points / 2^{self.depth})",
                "width": None if self.width is None else self.width.to_dict(),
            },
            "layers": [
                {**placed.to_dict(), **_deaths(placed.layer), "share": share}
                for placed, share in zip(self.layers, self.shares, strict=True)
            ],
            "thin": [self.layers[at].layer.name or str(at + 1) for at in self.thin],
            "uncovered": [each.to_dict() for each in self.uncovered],
            "not_covered": list(self.not_covered),
            "notes": list(self.notes),
        }


def _deaths(layer: Layer) -> dict[str, float]:
    return {
        "log2_death_at_most": layer.log2_death_at_most,
        "log2_death_at_least": layer.log2_death_at_least,
    }


def trainability(
    layers: Sequence[Layer],
    *,
    non_negative: bool = False,
    orthogonal: bool = False,
    probability: float | None = None,
) -> Trainability:
    """The bounds of a chain of layers, the first of which reads the data. Raises UsageError."""
    first = "" if non_negative else "it reads data of both signs"
    placed = [Placed(layer) for layer in layers]
    if placed and first:
        placed = [*_split(placed[0], first), *placed[1:]]
    found = bounds(layers, non_negative=non_negative, orthogonal=orthogonal)
    return _made(placed, found, non_negative, orthogonal, probability)


def trainability_of(
    placed: Sequence[Placed],
    *,
    non_negative: bool = False,
    orthogonal: bool = False,
    probability: float | None = None,
    uncovered: Sequence[Uncovered] = (),
    checkpoint: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Trainability:
    """The bounds of layers that lie in a graph. Raises UsageError."""
    lower = surviving(
        (each.layer.log2_death_at_most, each.layer.times) for each in placed if each.on_shortest
    )
    if any(each.in_the_way for each in uncovered):
        lower = NEVER
    sure = (each for each in placed if each.on_every_path and not each.certain)
    upper = surviving((each.layer.log2_death_at_least, each.layer.times) for each in sure)
    found = Bounds(lower, None if orthogonal else upper)
    made = _made(placed, found, non_negative, orthogonal, probability)
    return replace(made, uncovered=tuple(uncovered), checkpoint=checkpoint, notes=tuple(notes))


def _split(placed: Placed, reason: str) -> list[Placed]:
    """The first of layers alike apart, which cannot be killed for certain."""
    layer = placed.layer
    first = [replace(placed, layer=replace(layer, times=1), certain=reason)]
    return first + ([replace(placed, layer=replace(layer, times=layer.times - 1))] if layer.times > 1 else [])


def _made(
    placed: Sequence[Placed], found: Bounds, non_negative: bool, orthogonal: bool, probability: float | None
) -> Trainability:
    counted = [each.layer for each in placed if each.on_shortest]
    width = None
    if probability is not None and counted:
        bias = any(layer.bias for layer in counted)
        depth = sum(layer.times for layer in counted)
        width = width_for(probability, depth, bias=bias, non_negative=non_negative)
    return Trainability(tuple(placed), found, _shares(placed), width, non_negative, orthogonal)


def _shares(placed: Sequence[Placed]) -> tuple[float, ...]:
    """Each entry's part of -ln of the lower bound; in logarithms, for a part may be 2^-10,000."""
    logs = [_log2_danger(each.layer) if each.on_shortest else -math.inf for each in placed]
    largest = max(logs, default=-math.inf)
    if largest == -math.inf:
        return (0.0,) * len(placed)
    parts = [2.0 ** (log - largest) for log in logs]
    total = math.fsum(parts)
    return tuple(part / total for part in parts)


def _log2_danger(layer: Layer) -> float:
    """log2 of -ln(1 - 2^-n), times the layers alike."""
    log2 = layer.log2_death_at_most
    one = log2 if log2 < -60 else math.log2(-math.log1p(-(2.0**log2)))
    return one + math.log2(layer.times)
