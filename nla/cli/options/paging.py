"""The report: what it is called, and how it looks."""

from __future__ import annotations

import click

from nla.cli.options.parts import OUTPUT, choice, option

PAGE = "Page"
THEMES = ("auto", "light", "dark")
"""nla.rendering.page.page.CHOICES, written out once more; a test holds them together."""

output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="REPORT.html",
    required=True,
    help="Write the page to this file.",
)
title = option(
    "--title",
    section=PAGE,
    metavar="TITLE",
    help="Title of the page; by default it names the last run.",
)
theme = choice(
    "--theme",
    section=PAGE,
    choices=THEMES,
    default="auto",
    show_default=True,
    help="Light, dark, or auto: as the reader's system has it. The page has a button for it too.",
)
