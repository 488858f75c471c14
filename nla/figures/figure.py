"""A figure: a chart with everything that must stand beside it, for the eye, for screen readers, and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nla.figures.theme import LIGHT, Theme
from nla.lifecycle.plain import plain

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.Chart | alt.LayerChart | alt.HConcatChart

WIDTH = 720
"""Pixels of a whole figure where nothing else is asked for: two columns of a paper at 100 to the inch."""


@dataclass(frozen=True)
class Table:
    """The numbers of a figure, small enough to be read; what a screen reader is given."""

    columns: tuple[str, ...]
    """With units."""
    rows: tuple[tuple[Any, ...], ...]
    """Plain values; None: not known. Names are as the files have them: escape them for where they go."""


@dataclass(frozen=True)
class Figure:
    """One figure, in no theme yet: `spec(theme)` is the whole Vega-Lite specification.

    Marks that stand for a site or neurons carry, in their data, `site` (the full name), and where it is known `neuron`
    (the index of the first of them, int) and `state`, so that a page can lead from the picture to the rows.
    """

    kind: str
    title: str
    subtitle: str
    """Which run or runs, and on how much data."""
    caption: str
    """One sentence: how to read the figure."""
    alternative: str
    """What the figure shows, in words, from its numbers; begins with the title."""
    several: bool
    """Whether it is of several runs."""
    chart: Chart
    """Without its data, which the names in `datasets` stand for, and without theme, title and size."""
    datasets: Mapping[str, Sequence[Mapping[str, Any]]]
    table: Table
    height: int = 380
    """Pixels of the whole figure where nothing else is asked for."""
    width: int = WIDTH
    fluid: bool = True
    """Whether width and height are those of the whole figure, and a page may set width to 'container'; else (several
    views beside one another) the figure is drawn to its size by `saving`."""
    _plain: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def spec(
        self,
        theme: Theme = LIGHT,
        *,
        width: int | str | None = None,
        height: int | None = None,
        title: bool = True,
    ) -> dict[str, Any]:
        """The Vega-Lite specification, of plain values, with data and theme, and without any address.

        Args:
            theme: LIGHT or DARK; only `config` differs between them.
            width: pixels, or 'container' where the figure is fluid.
            height: pixels.
            title: False leaves out title and subtitle, for a page that has its own headings.
        """
        if not self._plain:
            self._plain.update(self.chart.to_dict())
        made = {key: value for key, value in self._plain.items() if key != "config"}
        made |= {"description": self.alternative, "config": theme.config()}
        made["datasets"] = {name: plain(list(rows)) for name, rows in self.datasets.items()}
        if title:
            made["title"] = {"text": self.title, "subtitle": self.subtitle}
        if self.fluid:
            made["autosize"] = {"type": "fit", "contains": "padding", "resize": True}
            made |= {"width": width or self.width, "height": height or self.height}
        return made

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """The figure in a notebook, as altair shows its own charts there."""
        import altair as alt

        return alt.renderers.get()(self.spec())  # type: ignore[misc]
