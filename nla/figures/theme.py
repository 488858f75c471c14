"""How figures look: colours that the colour-blind can tell apart, on light and on dark ground.

Everything that depends on the ground is in the configuration, nothing in a chart, so that a page can change the theme
of a chart that stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"

STATE_COLOURS = {
    "dead": "#D55E00",
    "constant": "#CC79A7",
    "saturated": "#E69F00",
    "dormant": "#56B4E9",
    "born": "#0072B2",
    "specialised": "#009E73",
    "active": "#B3B9C0",
    "unknown": "#5F666E",
}
"""Okabe and Ito's colours for what a reader looks for, greys for the rest; each reads on white and on black."""
DEAD = STATE_COLOURS["dead"]
RUN_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#B59F00")
RUN_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
HEAT = "viridis"
HEAT_EXTENT = (0.06, 1.0)


@dataclass(frozen=True)
class Theme:
    """The colours of text and lines on one ground."""

    name: str
    text: str
    muted: str
    line: str
    grid: str
    ramp: tuple[float, float]
    """The part of viridis that reads on this ground, for lines."""
    ground: str = "#FFFFFF"
    """What a PNG is painted on; SVG and PDF leave it out."""

    def config(self) -> dict[str, Any]:
        """The theme as the `config` of a Vega-Lite specification, in plain values."""
        axis = {
            "domainColor": self.line,
            "tickColor": self.line,
            "gridColor": self.grid,
            "labelColor": self.text,
            "titleColor": self.text,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "labelLimit": 220,
            "labelOverlap": "greedy",
            "labelSeparation": 2,
        }
        ramp = {"scheme": HEAT, "extent": list(self.ramp)}
        return {
            "background": "transparent",
            "font": FONT,
            "padding": 8,
            "axis": axis,
            "legend": {
                "labelColor": self.text,
                "titleColor": self.text,
                "labelFontSize": 11,
                "titleFontSize": 11,
                "titleFontWeight": "normal",
                "titleLimit": 0,
                "labelLimit": 220,
                "columnPadding": 14,
                "symbolStrokeWidth": 2,
                "gradientStrokeColor": "transparent",
            },
            "title": {
                "anchor": "start",
                "frame": "bounds",
                "color": self.text,
                "subtitleColor": self.muted,
                "fontSize": 15,
                "fontWeight": 600,
                "subtitleFontSize": 12,
                "subtitlePadding": 5,
                "offset": 12,
            },
            "header": {"labelColor": self.text, "titleColor": self.text, "labelFontSize": 12},
            "view": {"stroke": None},
            "range": {
                "category": list(RUN_COLOURS),
                "ordinal": ramp,
                "ramp": ramp,
                "heatmap": {"scheme": HEAT, "extent": list(HEAT_EXTENT)},
            },
            "style": {
                "value": {"color": self.text, "fontSize": 11},
                "quiet": {"color": self.muted, "fontSize": 11},
                "limit": {"color": self.text, "strokeDash": [4, 3], "strokeWidth": 1},
                "measure": {"color": self.text},
                "quiet-line": {"color": self.muted},
            },
        }


LIGHT = Theme("light", text="#1F2328", muted="#59636E", line="#8C959F", grid="#E1E5EA", ramp=(0.0, 0.85))
DARK = Theme(
    "dark",
    text="#E6EDF3",
    muted="#9DA7B3",
    line="#6E7681",
    grid="#30363D",
    ramp=(0.25, 1.0),
    ground="#0D1117",
)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
