"""How many points of data stay alive: what sign flips guarantee, and what independent initialisation gives on average.

Sign flips (the bounds paper, section 7): a layer that kills more than half of the points alive before it has its
weights and its biases negated. killed(W) + killed(-W) ≤ living, so ⌈A/2⌉ of A stay: after k layers at least ⌈M/2^k⌉ of
M, never none (the paper prints ⌊M/2^k⌋, which is 0 for 2^k > M).
"""

from __future__ import annotations

from nla.theory.chances import Chance, surviving
from nla.theory.layers import Layer, checked


def guaranteed(points: int, depth: int) -> int:
    """⌈points/2^depth⌉: points that sign flips keep alive through `depth` layers, for certain.

    >>> guaranteed(1024, 3), guaranteed(1000, 9), guaranteed(1000, 400)
    (128, 2, 1)
    """
    checked(depth, "depth")
    return max(1, -(-checked(points, "points") >> min(depth, 64)))


def expected(layers: tuple[Layer, ...]) -> Chance:
    """The mean share of points that live, without flips: the probability of one (eq. 8; exact for dense layers)."""
    return surviving((layer.log2_death_at_most, layer.times) for layer in layers)
