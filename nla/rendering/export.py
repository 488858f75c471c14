"""What `nla export` wrote, as text."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from nla.lifecycle.results import path_of
from nla.outcomes import Exported
from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.terminal import console
from nla.rendering.words import hanging, size, whole


def print_export(made: Exported, out: Console | None = None) -> None:
    """The source, the file, its inputs and outputs, and where the weights lie."""
    out = out or console()
    facts = " · ".join(map(whole, checkpoint_facts(made.checkpoint)))
    inside = made.weights == "inside"
    written = f"{size(made.bytes + made.weight_bytes)} · weights inside" if inside else size(made.bytes)
    lines = [("model", path_of(made.checkpoint), facts), ("wrote", str(made.output), written)]
    if not inside:
        place = f"{made.output}.data" if made.weights == "beside" else path_of(made.checkpoint)
        lines.append(("weights", place, size(made.weight_bytes)))
    for label, path, rest in lines:
        out.print(
            Text().append(f"{label:<9}", "quiet").append(whole(path), "head").append(f"  {rest}"),
            soft_wrap=True,
        )
    for label, names in (("inputs", made.inputs), ("outputs", made.outputs)):
        out.print(Text().append(f"{label:<9}", "quiet").append(", ".join(map(whole, names))))
    for note in made.notes:
        out.print(Text(hanging(note, out.width)))
