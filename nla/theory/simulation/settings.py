"""What each figure simulates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from nla.errors import UsageError
from nla.theory.layers import checked
from nla.theory.simulation.networks import RESIDUAL, Task
from nla.theory.widths import width_for

FIGURES = {
    2: "the probability of being born alive, against both bounds",
    4: "the probability of being born alive along n(k), the widths that eq. 9 asks for",
    5: "the normalised variance of the outputs over the living data",
    6: "the share of living data: independent, sign-flipped, batch-normalised",
    9: "what lives by depth and width: plain and residual networks, beside the bounds",
}
"""Of the bounds paper; 9 of the lifecycle paper, which draws it without a formula or an experiment."""
PHASES = 9
DEPTHS = {2: 256, 4: 1024, 5: 1024, 6: 256, PHASES: 256}
_QUICK = {PHASES: {"networks": 256, "points": 128, "max_width": 12}}
PATHS = (0.1, 0.5, 0.9)
"""The probabilities p of figure 4, each of which has its own n(k)."""
_SCHEMES = {
    6: ("independent", "flipped", "normalised", "normalised-living"),
    PHASES: ("independent", RESIDUAL),
}
_MOST = 1 << 27
"""Float32 numbers in one block."""


@dataclass(frozen=True)
class Settings:
    """A simulation: with its seed, everything that its result depends on."""

    figure: int
    networks: int = 1024
    points: int = 1024
    max_width: int = 15
    depth: int = 256
    seed: int = 0
    bias: bool = False
    non_negative: bool = False

    @classmethod
    def of(cls, figure: int, **given: Any) -> Settings:
        """The paper's settings of a figure, and what is given otherwise (not None). Raises UsageError."""
        if not isinstance(figure, int) or figure not in FIGURES:
            raise UsageError(
                f"figure {figure} is not simulated, expected one of {', '.join(map(str, FIGURES))}"
            )
        said = {name: value for name, value in given.items() if value is not None}
        made = cls(figure, **{"depth": DEPTHS[figure], **_QUICK.get(figure, {}), **said})
        sizes: dict[str, Any] = {
            name: checked(getattr(made, name), name.replace("_", "-"), least)
            for name, least in (("networks", 1), ("points", 1), ("max_width", 1), ("depth", 1), ("seed", 0))
        }
        made = replace(made, **sizes)
        if made.points * made.max_width * 16 > _MOST or made.max_width > 4096:
            raise UsageError(
                f"{made.points} points at a width of {made.max_width} do not fit memory: take fewer points or a "
                "smaller width"
            )
        if made.depth > 1 << 20 or made.networks > 1 << 24:
            raise UsageError("more than 2^20 layers or 2^24 networks are not simulated: take fewer")
        if figure in (5, PHASES) and made.bias:
            raise UsageError(f"figure {figure} is of networks without biases: leave --bias out")
        return made

    def tasks(self) -> tuple[Task, ...]:
        """What is simulated, the slowest last."""
        depths = self._depths()
        return tuple(
            Task(
                scheme,
                width,
                depth,
                self.networks,
                self.points,
                self.seed,
                self.bias,
                self.non_negative,
                self.figure == 5,
            )
            for scheme in _SCHEMES.get(self.figure, ("independent",))
            for width, depth in depths.items()
        )

    def _depths(self) -> dict[int, int]:
        """By width, how deep its networks are."""
        if self.figure != 4:
            return dict.fromkeys(range(1, self.max_width + 1), self.depth)
        found: dict[int, int] = {}
        for probability in PATHS:
            for depth in range(1, self.depth + 1):
                width = width_for(probability, depth).enough
                if width > self.max_width:
                    break
                found[width] = max(depth, found.get(width, 0))
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
