"""Figures as files: SVG, PNG and PDF, drawn here without browser or network, the same bytes for the same figure."""

from __future__ import annotations

import json
import os
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from nla.errors import MissingExtraError, UsageError, printable
from nla.figures.pdf import settled
from nla.figures.theme import LIGHT, Theme

if TYPE_CHECKING:
    from nla.figures.figure import Figure

FORMATS = ("svg", "png", "pdf")
DPI = 144.0
"""Dots of a PNG to the inch: two for each pixel of a figure, of which 72 are an inch."""
_PER_INCH = 72.0
_MOST_DOTS = 1 << 27
"""Of a PNG: half a gigabyte while it is drawn."""
SIDES = (100, 10_000)
"""Pixels of a figure's width and height, from and to."""
DENSITIES = (18.0, 2400.0)
_NUMBERED = re.compile(r"\b(clip|gradient_|pattern_)(\d+)\b")
_SIZE = re.compile(r'<svg\b[^>]*?\bwidth="([\d.]+)" height="([\d.]+)"')


def rendered(
    figure: Figure,
    format: str = "svg",
    *,
    theme: Theme = LIGHT,
    width: int | None = None,
    height: int | None = None,
    dpi: float = DPI,
) -> bytes:
    """The figure in one of FORMATS.

    Args:
        figure: what to draw.
        format: 'svg', 'png' or 'pdf'.
        theme: LIGHT or DARK; the ground is transparent but in PNG.
        width: pixels (in PDF: points) of the whole figure.
        height: likewise.
        dpi: dots of a PNG to the inch, of which 72 pixels of the figure are one.

    Raises:
        UsageError: sizes that make no sense, or a PNG too large to be drawn.
        MissingExtraError: the library that draws is not installed.
    """
    format = format_of(None, format)
    check_size(width, height, dpi)
    if format == "png":
        _check_dots(figure, width, height, dpi)
    try:
        import vl_convert
    except ImportError:
        raise MissingExtraError("plots", "report") from None
    text = _svg(figure, theme, width, height)
    if format == "svg":
        return text.encode()
    if format == "png":
        # vl-convert 1.9 darkens pixels that are half transparent, so that a PNG has a ground.
        ground = f'<rect width="100%" height="100%" fill="{theme.ground}"/>'
        return bytes(vl_convert.svg_to_png(text.replace(">", f">{ground}", 1), ppi=dpi))
    return settled(bytes(vl_convert.svg_to_pdf(text)))


def check_size(width: int | None, height: int | None, dpi: float) -> None:
    """Raises UsageError where a figure cannot have these sizes."""
    for name, value in (("width", width), ("height", height)):
        if value is not None and not SIDES[0] <= value <= SIDES[1]:
            raise UsageError(f"{name} {value}: expected {SIDES[0]} to {SIDES[1]:,} pixels")
    if not DENSITIES[0] <= dpi <= DENSITIES[1]:
        raise UsageError(f"dpi {dpi:g}: expected {DENSITIES[0]:g} to {DENSITIES[1]:,g} dots to the inch")


def _check_dots(figure: Figure, width: int | None, height: int | None, dpi: float) -> None:
    dots = (width or figure.width) * (height or figure.height) * (dpi / _PER_INCH) ** 2
    if dots > _MOST_DOTS:
        raise UsageError(
            f"a PNG of {dots:,.0f} dots: expected at most {_MOST_DOTS:,}; make it smaller, or ask for svg or pdf"
        )


def _svg(figure: Figure, theme: Theme, width: int | None, height: int | None) -> str:
    spec = figure.spec(theme, width=width, height=height)
    text = _drawn(spec)
    if not figure.fluid:
        # Several views beside one another take the size of each, so what stands around them is measured first.
        found = _SIZE.search(text)
        wanted = (width or figure.width, height or figure.height)
        if found is not None:
            text = _drawn(_resized(spec, wanted[0] - float(found[1]), wanted[1] - float(found[2])))
    return text


def _resized(spec: dict[str, Any], wider: float, higher: float) -> dict[str, Any]:
    """The specification with its views, which stand side by side, this much larger in all."""
    views = [
        {
            **view,
            "width": max(view["width"] + wider / len(spec["hconcat"]), 20),
            "height": max(view["height"] + higher, 20),
        }
        for view in spec["hconcat"]
    ]
    return {**spec, "hconcat": views}


def format_of(path: str | os.PathLike[str] | None, format: str | None = None) -> str:
    """The format asked for, else that of the file's suffix; SVG for standard output ('-') and for none.

    Raises:
        UsageError: a suffix, or a format, that is none of FORMATS.

    >>> format_of("a/dead.PNG"), format_of("dead.svg", "pdf"), format_of("-")
    ('png', 'pdf', 'svg')
    """
    if format is not None:
        if format.lower() not in FORMATS:
            raise UsageError(f"no format {printable(format)!r} of figures; there are {', '.join(FORMATS)}")
        return format.lower()
    if path is None or os.fspath(path) == "-":
        return "svg"
    suffix = PurePath(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(
            f"{printable(path)}: a figure is {', '.join(FORMATS)}: end the name so, or say which with --format"
        )
    return suffix


def _drawn(spec: dict[str, Any]) -> str:
    import vl_convert

    text = json.dumps(spec, ensure_ascii=False, allow_nan=False)
    return _renumbered(vl_convert.vegalite_to_svg(text, allowed_base_urls=[], show_warnings=False))


def _renumbered(svg: str) -> str:
    """The same picture whatever was drawn before it: Vega counts the parts that it names over all figures."""
    numbers: dict[str, str] = {}

    def renumber(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"{found[1]}{len(numbers)}")

    inside = re.compile(r'(?:id="|url\(#)[^")]*')
    return inside.sub(lambda tag: _NUMBERED.sub(renumber, tag[0]), svg)
