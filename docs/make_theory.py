"""Draws the figures of docs/theory.md: `python docs/make_theory.py`; two minutes. Needs the extra `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nla
from nla.figures.saving import rendered
from nla.figures.theory.drawing import drawn

FIGURES = Path(__file__).resolve().parent / "figures"


def main() -> None:
    """Simulates what the page shows, on fewer networks and points than the papers, and draws it."""
    draw("born-alive", nla.simulate(2, networks=512, points=256, max_width=8))
    draw("living-data", nla.simulate(6, networks=256, points=256, max_width=16))
    draw("phases", nla.phases())
    draw("sizes", nla.variance())
    draw("activations", nla.activation_table())


def draw(name: str, found: Any) -> None:
    """One figure, in the light theme."""
    content = rendered(drawn(found), "svg")
    (FIGURES / f"theory-{name}.svg").write_bytes(content)


if __name__ == "__main__":
    main()
