"""Figures: which kind, in which form."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from nla.cli import parameters
from nla.cli.options.parts import OUTPUT, choice, option
from nla.cli.parameters import Parsed

FIGURE = "Figure"
FORMATS = ("svg", "png", "pdf")
THEMES = ("light", "dark")
"""nla.figures.saving.FORMATS and theme.THEMES, written out once more; a test holds them together."""

OF_THEORY = {
    "gradient": "norm of the gradient at every layer of a model, beside its bound (eq. 4)",
    "simulate": "random networks and data that are born alive (--figure 2, 4, 5, 6)",
    "phases": "what is born alive by depth and width",
    "variance": "size of pre-activations by depth, predicted and measured",
    "activations": "activations and their slopes",
}
"""The commands of `nla theory` that draw, and what."""


def _kinds(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of figure that begin so; and, where none does, a file's name."""
    from nla.figures.registry import KINDS

    found = [
        CompletionItem(kind.name, help=kind.shows)
        for kind in KINDS.values()
        if kind.name.startswith(incomplete)
    ]
    return found if incomplete and found else [CompletionItem(incomplete, type="file"), *found]


def _list(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if not given or context.resilient_parsing:
        return
    from nla.figures.registry import KINDS

    width = max(map(len, KINDS))
    for several, title in ((False, "Of one run:"), (True, "Of several runs:")):
        click.echo(title)
        for kind in KINDS.values():
            if kind.several is several:
                click.echo(f"  {kind.name.ljust(width)}  {kind.shows}")
    click.echo("Of no run, each drawn by its own command (--plot FIGURE.svg):")
    for name, shows in OF_THEORY.items():
        click.echo(f"  nla theory {name.ljust(width - len('nla theory '))}  {shows}")
    context.exit()


runs = click.argument("runs", type=click.Path(), nargs=-1, metavar="RUN...", shell_complete=_kinds)
kind = click.argument("kind", metavar="KIND", shell_complete=_kinds)
list_kinds = option(
    "--list",
    "list_kinds",
    section=FIGURE,
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Print the kinds of figure, and end.",
)
output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="FIGURE.svg",
    help="Write the figure to this file, which ends in .svg, .png or .pdf; - writes SVG to standard output.",
)
figure_format = choice(
    "--format",
    "format",
    section=OUTPUT,
    choices=FORMATS,
    help="What is written, whatever the name of the file ends in.",
)
theme = choice(
    "--theme",
    section=FIGURE,
    choices=THEMES,
    default="light",
    show_default=True,
    help="The ground that the colours are for: painted in PNG, transparent in SVG and PDF.",
)
_PIXELS = Parsed("pixels", parameters.positive)
width = option(
    "--width",
    section=FIGURE,
    type=_PIXELS,
    metavar="PX",
    help="Width of the whole figure in pixels (PDF: points); by default as the kind needs.",
)
height = option(
    "--height", section=FIGURE, type=_PIXELS, metavar="PX", help="Height of the whole figure, likewise."
)
dpi = option(
    "--dpi",
    section=FIGURE,
    type=_PIXELS,
    metavar="N",
    default=144,
    show_default=True,
    help="Dots of a PNG to the inch, which is 72 pixels of the figure.",
)
OPTIONS: tuple[Any, ...] = (list_kinds, theme, width, height, dpi)
