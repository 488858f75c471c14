"""Figure 4: networks born alive along n(k), the widths that eq. 9 asks for, as depth grows."""

from __future__ import annotations

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, layered, percent, tip
from nla.figures.theme import RUN_COLOURS
from nla.figures.theory.axes import POINT, depth_axis, of_simulation, powers, share_axis
from nla.theory.simulation.results import Simulation

TITLE = "Born alive along n(k)"


def draw(simulation: Simulation) -> Figure:
    """The figure."""
    depth, paths = simulation.settings.depth, simulation.paths()
    names = {p: f"p = {p:g}" for p in paths}
    lines = [
        {"path": names[p], "depth": row["depth"], "value": row["lower_bound"]}
        for p, rows in paths.items()
        for row in rows
    ]
    marks = [
        {**row, "path": names[p]}
        for p, rows in paths.items()
        for row in rows
        if row["depth"] in powers(depth)
    ]
    colour = alt.Color(
        "path:N",
        scale=alt.Scale(domain=list(names.values()), range=list(RUN_COLOURS[: len(names)])),
        legend=alt.Legend(title="wanted", orient="top", symbolType="stroke", symbolSize=250),
    )
    title, x = "share of networks with a living point", depth_axis(depth)
    curve = (
        alt.Chart(data("lines"))
        .mark_line(strokeWidth=1.2, interpolate="step-after")
        .encode(x=x, y=share_axis(title), color=colour)
    )
    base = alt.Chart(data("marks")).encode(x=x, color=colour)
    bars = base.mark_rule(strokeWidth=1.5).encode(y=share_axis(title, "low"), y2="high:Q")
    points = base.mark_point(filled=True, size=POINT, opacity=1).encode(
        y=share_axis(title, "probability"),
        tooltip=tip(
            ("path:N", "wanted"),
            ("depth:Q", "layers"),
            ("width:O", "width"),
            ("probability:Q", "alive", ".4f"),
        ),
    )
    last = [rows[-1] for rows in paths.values() if rows]
    said = "; ".join(
        f"at {row['depth']:,} layers of {row['width']}: {percent(row['probability'])}, lower bound "
        f"{percent(row['lower_bound'])}"
        for row in last
    )
    return Figure(
        kind="along-paths",
        title=TITLE,
        subtitle=of_simulation(simulation),
        caption="Marks: simulated, with 95 % intervals; lines: the lower bound, which jumps where a neuron is added. "
        "The deeper, the nearer to it.",
        alternative=f"{TITLE}. {said[:1].upper()}{said[1:]}.",
        several=False,
        chart=layered(curve, bars, points),
        datasets={"marks": marks, "lines": lines},
        table=Table(
            ("wanted", "layers", "width", "born alive", "low", "high", "lower bound"),
            tuple(
                tuple(
                    row[name]
                    for name in ("path", "depth", "width", "probability", "low", "high", "lower_bound")
                )
                for row in marks
            ),
        ),
    )
