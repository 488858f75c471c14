"""The report: one HTML file that holds all it needs, of one run or several; the same runs give the same bytes.

Names come from strangers' files: jinja2 escapes them, JSON within the page holds no `<`, and a content security policy
lets only the page's own scripts run, named by their digests, without eval and without any address.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from nla.errors import MissingExtraError, UsageError
from nla.figures.theme import DARK, LIGHT, STATE_COLOURS, THEMES
from nla.rendering.page import content
from nla.rendering.page.columns import IDENTITY, column
from nla.rendering.page.neurons import Packed, pack
from nla.rendering.page.pictures import pictures
from nla.rendering.page.trajectories import trajectories
from nla.rendering.page.verdict import change, verdict
from nla.rendering.words import count, counted, percent, whole
from nla.runs.run import Run

AUTO = "auto"
CHOICES = (AUTO, *THEMES)
_SCRIPTS = ("data", "theme", "charts", "marking", "search", "table", "controls", "main")
_PRINTED = (
    "site",
    "index",
    "state",
    "flags",
    "activation_rate",
    "mean_abs",
    "max",
    "dormancy_score",
    "margin",
)
"""Columns on paper, where there is no scrolling."""
_NUMBER_WIDTH, _WIDTHS = 104, {"site": 230, "index": 62, "state": 112, "flags": 132}


@dataclass(frozen=True)
class Shown:
    """The runs of a page, in their order; what is told of one run is told of the last."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    """On the order, and on runs that were left out."""
    apart: str = ""
    """Why the runs are no series, and are shown side by side only; '' where they are one."""


def page(shown: Shown, *, title: str | None = None, theme: str = AUTO) -> str:
    """The page of these runs.

    Args:
        shown: at least one run.
        title: of the page; by default what the last run is called.
        theme: 'light', 'dark', or 'auto', which is what the reader's system says.

    Raises:
        UsageError: no run, or no such theme.
        MissingExtraError: the libraries for reports are not installed.
    """
    runs = shown.runs
    if not runs:
        raise UsageError("nothing to report: give at least one run")
    check(theme)
    template, bundle = _template(), _bundle()
    last = runs[-1]
    drawn, refused = pictures(runs, shown.apart)
    steps = trajectories(runs) if len(runs) > 1 and not shown.apart else None
    packed = pack(last, steps)
    script = _script()
    text: str = template.render(
        title=whole(title or f"Neurons of {last.label}"),
        theme=theme,
        css=_colours() + _text("style.css"),
        policy=_policy([bundle, script]),
        bundle=bundle,
        script=script,
        json=_json(_data(runs, drawn, packed)),
        runs=runs,
        run=last,
        notes=shown.notes,
        apart=shown.apart,
        verdict=verdict(last),
        change=change(runs[0], last) if len(runs) > 1 and not shown.apart else "",
        pictures=drawn,
        refused=refused,
        packed=packed,
        columns=_columns(packed),
        printed=[column(name) for name in _printed(packed)],
        content=content,
    )
    # A name may hold half a surrogate pair, which UTF-8 cannot; `whole` has escaped those that are shown.
    return text.encode("utf-8", "replace").decode()


def check(theme: str) -> None:
    """What can be known before the work. Raises UsageError: no such theme; MissingExtraError."""
    if theme not in CHOICES:
        raise UsageError(f"theme {whole(theme)!r} is none: expected one of {', '.join(CHOICES)}")
    if any(find_spec(library) is None for library in ("jinja2", "altair", "vl_convert")):
        raise MissingExtraError("reports", "report")


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nla.rendering.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "percent": percent, "whole": whole}
    environment.filters["capitalize_first"] = content.capitalised
    environment.globals["counted"] = counted
    return environment.get_template("page.html.jinja")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the library that holds them."""
    import vl_convert

    # Nothing in it may end the script element; within JavaScript's strings `<\/` is `</`.
    bundle = str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub lacks the default
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _text(name: str) -> str:
    return files("nla.rendering.page").joinpath(name).read_text("utf-8")


def _script() -> str:
    parts = (_text(f"scripts/{name}.js") for name in _SCRIPTS)
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _policy(scripts: Sequence[str]) -> str:
    """Nothing may be loaded, and no script may run but these."""
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _colours() -> str:
    """The states' colours and the two grounds' as CSS variables, so that charts and page agree."""
    states = "".join(f"--{state}:{colour};" for state, colour in STATE_COLOURS.items())
    own = "".join(f".{state}{{--own:var(--{state})}}" for state in STATE_COLOURS)
    dark = _ground(DARK)
    return (
        f":root{{{states}{_ground(LIGHT)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}\n{own}\n"
    )


def _ground(theme: Any) -> str:
    return f"--text:{theme.text};--muted:{theme.muted};--axis:{theme.line};--grid:{theme.grid};"


def _data(runs: Sequence[Run], drawn: Sequence[Any], packed: Packed | None) -> dict[str, Any]:
    return {
        "runs": [whole(run.label) for run in runs],
        "figures": [
            {"id": each.kind, "several": each.figure.several, "height": each.figure.height, "spec": each.spec}
            for each in drawn
        ],
        "neurons": packed.about if packed else None,
        "printed": list(_printed(packed)),
    }


def _json(document: Any) -> str:
    """JSON that cannot end the element it stands in, nor look like markup or an address in an attribute."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return (
        text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("'", "\\u0027")
    )


def _columns(packed: Packed | None) -> list[dict[str, Any]]:
    """The table's columns: site and index, which follow from the row, then those that are packed."""
    if packed is None:
        return []
    own = [{"name": each.name, "title": each.title, "meaning": each.meaning} for each in IDENTITY[:2]]
    told = [*own, *packed.about["columns"]]
    return [{**each, "width": _width(each), "number": _is_number(each)} for each in told]


def _width(about: dict[str, Any]) -> int:
    if "steps" in about:
        return max(104, 8 * int(about["steps"]) + 24)
    return _WIDTHS.get(about["name"], _NUMBER_WIDTH)


def _is_number(about: dict[str, Any]) -> bool:
    return about["name"] == "index" or ("type" in about and about["type"] != "u1")


def _printed(packed: Packed | None) -> list[str]:
    known = {"site", "index"} | {each["name"] for each in packed.about["columns"]} if packed else set()
    return [name for name in _PRINTED if name in known]
