"""What the commands of `nla theory` share: where a result goes, and its figure."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs
from nla.errors import UsageError, printable


def show(
    found: Any, json_file: str | None, row_format: str, printed: Any, rows: Any, quiet: bool = False
) -> None:
    """The document where it was asked for, and on standard output a table, rows or the document."""
    if json_file:
        outputs.put_document(json_file, found)
    if quiet or json_file == outputs.STANDARD_OUTPUT:
        return
    if row_format == "json":
        outputs.put_document(outputs.STANDARD_OUTPUT, found)
    elif row_format == "csv":
        from nla.rendering.rows import print_rows

        print_rows(rows(found))
    else:
        printed(found)


def check(json_file: str | None, plot: str | None, work: str | None = None) -> None:
    """Find out before the work that an output cannot be written. Raises OutputError, UsageError."""
    outputs.check([json_file, work, plot], [])
    if plot is not None:
        from nla.figures.saving import FORMATS

        if not plot.lower().endswith(tuple(f".{name}" for name in FORMATS)):
            raise UsageError(f"{printable(plot)}: expected a name that ends in .{', .'.join(FORMATS)}")


def draw(found: Any, path: str, theme: str) -> None:
    """The figure in the format that the name of its file ends in."""
    from nla.figures.saving import format_of, rendered
    from nla.figures.theme import THEMES
    from nla.figures.theory.drawing import drawn

    content = rendered(drawn(found), format_of(path), theme=THEMES[theme])
    outputs.put_binary(path, lambda out: out.write(content))
