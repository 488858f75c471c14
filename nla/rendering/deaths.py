"""Where neurons of a series die, starve and revive, as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.step_table import headings_of, percents, ruled_table
from nla.rendering.words import count, counted, hanging, short_names
from nla.tracking.deaths import SiteDeaths
from nla.tracking.results import Tracking

_MOST_DEADLY = 8


def print_deaths(out: Console, tracking: Tracking) -> None:
    """The sites with most deaths and revivals, and what is known of why."""
    found = tracking.deaths
    if not any(site.ever_dead for site in found):
        return
    out.print("\nDeaths and revivals", style="head")
    deadly = [k for k in range(len(found)) if found[k].ever_dead]
    top = sorted(
        sorted(deadly, key=lambda k: -int(found[k].died.sum() + found[k].revived.sum()))[:_MOST_DEADLY]
    )
    out.print(_deaths_table(tracking, top, out.width))
    if len(deadly) > len(top):
        out.print(Text(f"{counted(len(deadly) - len(top), 'more site')} in --json", "quiet"))
    for sentence in _about_deaths(tracking, found):
        out.print(Text(hanging(sentence, out.width, "", "")))


def _deaths_table(tracking: Tracking, places: Sequence[int], width: int) -> Table:
    headings = headings_of(tracking.steps)
    table = ruled_table("site")
    for heading in (
        "neurons",
        "ever\ndead",
        "died",
        "revived",
        "revival\nrate",
        "dead\nat the end",
        "starved",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("most\ndied at", justify="right", no_wrap=True)
    names = short_names([tracking.deaths[k].name for k in places], max(16, width - 68))
    for name, k in zip(names, places, strict=True):
        site, starved = tracking.deaths[k], int(tracking.propagation[k].starved.sum())
        died, revived = int(site.died.sum()), int(site.revived.sum())
        table.add_row(
            Text(name),
            count(site.neurons),
            count(site.ever_dead),
            Text(count(died), "dead" if died else "quiet"),
            Text(count(revived), "specialised" if revived else "quiet"),
            "" if math.isnan(site.revival_rate) else f"{percents(site.revival_rate)} %",
            count(site.permanent),
            Text(count(starved), "" if starved else "quiet"),
            Text(headings[int(site.died.argmax())] if died else ""),
        )
    return table


def _about_deaths(tracking: Tracking, found: Sequence[SiteDeaths]) -> Iterator[str]:
    first = sum(int(site.dead[0]) for site in found)
    if first:
        yield f"{counted(first, 'neuron')} {'is' if first == 1 else 'are'} dead from the first step on."
    revived = sum(site.neurons - int(site.revivals[0]) for site in found)
    again = sum(int(site.revivals[2:].sum()) for site in found)
    if revived:
        longest = max(len(site.dead_for) for site in found)
        yield (
            f"{counted(revived, 'neuron')} revived, {count(again)} of them more than once; at most after "
            f"{counted(longest, 'step')} seen dead."
        )
    just = sum(site.just_died for site in found)
    if just:
        yield f"{count(just)} of those dead at the end died at the last step: what becomes of them is not known."
    died = sum(int(site.died.sum()) for site in found)
    starved = sum(int(site.starved.sum()) for site in tracking.propagation)
    upstream = sum(int(site.dead_upstream.sum()) for site in tracking.propagation)
    if died:
        yield (
            f"Propagation: {count(starved)} of {counted(died, 'death')} came with all inputs dead or constant "
            f"(starved), {count(upstream)} behind a site that had dead neurons then."
        )
