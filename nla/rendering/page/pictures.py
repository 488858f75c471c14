"""The figures of a page: every kind that these runs can show, and why the others cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from nla.errors import UsageError
from nla.figures.registry import KINDS, Kind
from nla.figures.theme import Theme
from nla.runs.run import Run

if TYPE_CHECKING:
    from nla.figures.figure import Figure

PAGE = Theme(
    "page", text="var(--text)", muted="var(--muted)", line="var(--axis)", grid="var(--grid)", ramp=(0.2, 0.88)
)
"""Colours are the page's variables, so that charts follow its theme without being drawn anew."""
_MOST_ROWS = 300
"""Rows of a figure's table in the page; beyond, `nla plot` and the documents have them all."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    kind: str
    figure: Figure
    spec: dict[str, Any]

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The first rows of its table."""
        return self.figure.table.rows[:_MOST_ROWS]

    @property
    def left_out(self) -> int:
        """Rows of its table that the page does not hold."""
        return max(0, len(self.figure.table.rows) - _MOST_ROWS)


@dataclass(frozen=True)
class Refused:
    """A kind of figure that these runs cannot show."""

    kind: str
    several: bool
    """Whether it is of several runs."""
    reason: str


def pictures(runs: Sequence[Run], apart: str = "") -> tuple[list[Picture], list[Refused]]:
    """What the runs show together, then what the last of them shows; and what cannot be drawn, with the reason.

    Where the runs are no series, `apart` says why, and nothing is drawn over time.
    """
    drawn: list[Picture] = []
    refused: list[Refused] = []
    for kind, shown in _asked(runs):
        if apart and kind.over_time:
            refused.append(Refused(kind.name, kind.several, apart))
            continue
        try:
            figure = kind.make(shown)
        except UsageError as error:
            refused.append(Refused(kind.name, kind.several, str(error)))
            continue
        width = "container" if figure.fluid else None
        drawn.append(Picture(kind.name, figure, _fitted(figure.spec(PAGE, width=width, title=False))))
    return drawn, refused


def _fitted(spec: dict[str, Any]) -> dict[str, Any]:
    """Fit for the page: with a `color` in every style, by which vega-lite fills text, and with legends that fold."""
    for style in spec["config"].get("style", {}).values():
        style.setdefault("color", style.get("fill") or style.get("stroke"))
    for key in ("encoding", "layer", "hconcat", "spec"):
        _folded(spec.get(key))
    return spec


_ROOM = 480
"""Pixels that a legend above a chart has on a narrow page."""


def _folded(part: Any) -> None:
    """Legends above a chart in columns where one row would be cut off; in place, wherever in the chart."""
    if isinstance(part, list):
        for each in part:
            _folded(each)
    if not isinstance(part, dict):
        return
    legend, scale = part.get("legend"), part.get("scale")
    names = scale.get("domain") if isinstance(scale, dict) else None
    if isinstance(legend, dict) and legend.get("orient") == "top" and isinstance(names, list):
        widths = [30 + 6.5 * len(name) for name in names if isinstance(name, str)]
        if sum(widths) > _ROOM:
            legend.setdefault("columns", max(1, int(_ROOM / max(widths))))
    for each in part.values():
        _folded(each)


def _asked(runs: Sequence[Run]) -> Iterator[tuple[Kind, Sequence[Run]]]:
    several = ((kind, runs) for kind in KINDS.values() if kind.several and len(runs) > 1)
    one = ((kind, runs[-1:]) for kind in KINDS.values() if not kind.several)
    return chain(several, one)
