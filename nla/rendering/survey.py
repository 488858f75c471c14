"""What `nla sites` found, as a document and as text."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, short_names, whole
from nla.site import Input, Producer, Site, Survey

SCHEMA = "nla/sites/1"


def survey_document(survey: Survey) -> dict[str, Any]:
    """The survey as plain values for JSON."""
    return {
        "schema": SCHEMA,
        "checkpoint": survey.checkpoint,
        "parameters": survey.parameters,
        "inputs": [{"name": i.name, "dtype": i.dtype, "shape": i.shape} for i in survey.inputs],
        "outputs": list(survey.outputs),
        "sites": [_site(site) for site in survey.sites],
        "not_understood": [
            {"name": place.name, "op_type": place.op_type, "reason": place.reason}
            for place in survey.not_understood
        ],
        "notes": list(survey.notes),
    }


def _site(site: Site) -> dict[str, Any]:
    """As the inspection document names it, with all that is known before a run."""
    plain = site.to_dict()
    activation = plain.pop("activation")
    return {
        "name": plain.pop("name"),
        "role": plain.pop("role"),
        "activation": activation["name"],
        "activation_parameters": activation["parameters"],
        "neurons": plain.pop("neurons"),
        "channel_axis": site.channel_axis,
        "parameters_per_neuron": plain.pop("parameters_in"),
        **plain,
    }


def print_survey(survey: Survey, out: Console | None = None) -> None:
    """The sites, the inputs that they need, and everything that was not understood."""
    out = out or console()
    out.print(_heading(survey))
    for given in survey.inputs:
        out.print(Text(f"input  {_input(given)}"))
    for note in survey.notes:
        out.print(Text(hanging(note, out.width, "note   ", " " * 7)))
    out.print()
    if survey.sites:
        out.print(_table(survey, out.width))
        neurons = sum(site.neurons for site in survey.sites)
        out.print(f"{counted(len(survey.sites), 'site')}, {counted(neurons, 'neuron')}", style="head")
    else:
        out.print("no site was found: no layer of neurons that nla understands", style="warning")
    if survey.not_understood:
        out.print(
            f"\nNot understood, and left alone: {counted(len(survey.not_understood), 'place')}", style="head"
        )
        for place in survey.not_understood:
            out.print(Text(hanging(f"{place.op_type} {place.name}: {place.reason}", out.width)))


def _heading(survey: Survey) -> Text:
    checkpoint = survey.checkpoint
    facts = map(whole, checkpoint_facts(checkpoint, survey.parameters))
    return Text("model  ").append(whole(checkpoint.get("path", "")), "head").append(f"  {' · '.join(facts)}")


def _input(given: Input) -> str:
    shape = "any shape" if given.shape is None else f"[{', '.join(_axis(axis) for axis in given.shape)}]"
    return f"{whole(given.name)}  {whole(given.dtype)} {shape}"


def _axis(axis: int | str | None) -> str:
    return "?" if axis is None else whole(axis)


def _table(survey: Survey, width: int) -> Table:
    cells = [
        (site.role, site.activation.name, count(site.neurons), _axis_of(site), _made_by(site.producers))
        for site in survey.sites
    ]
    headings = ("role", "activation", "neurons", "axis", "made by")
    used = sum(
        1 + max(len(heading), *map(len, column))
        for heading, column in zip(headings, zip(*cells, strict=True), strict=True)
    )
    longest = max(len(site.name) for site in survey.sites)
    gap = 2 if longest + used + len(headings) <= width else 1
    names = short_names([site.name for site in survey.sites], max(16, width - used))
    table = ruled(gap)
    table.add_column("site", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("neurons", "axis") else "left", no_wrap=True)
    for name, row in zip(names, cells, strict=True):
        table.add_row(Text(name), *map(Text, row))
    return table


def _axis_of(site: Site) -> str:
    return ", ".join(map(str, site.channel_axes)) if site.rank is None else str(site.channel_axis)


def _made_by(producers: tuple[Producer, ...]) -> str:
    """The operators of the producers, each once; 'Conv/32' is a convolution in 32 groups."""
    ops = dict.fromkeys(whole(p.op_type) + (f"/{p.groups}" if p.groups > 1 else "") for p in producers)
    return " + ".join(ops)
