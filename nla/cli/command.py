"""Commands whose help begins with an example to paste, and options that stand in sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_COLUMN = 26
"""Longer option names stand on a line of their own."""
_LAST_SECTION = "Other options"


class Option(click.Option):
    """A click option that says in which section of the help it stands."""

    def __init__(self, *args: Any, section: str = _LAST_SECTION, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A click command with examples."""

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first: what to paste before what it means."""
        _write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list for each section, in the order in which the sections first appear; `--help` comes last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", _LAST_SECTION), []).append(record)
        width = max(len(name) for records in sections.values() for name, _ in records if len(name) <= _COLUMN)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in records], col_max=_COLUMN)


class Group(click.Group):
    """The `nla` command itself: commands in the order of the work, not of the alphabet."""

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        return list(self.commands)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first."""
        _write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """One a line and never wrapped, so that they paste well."""
    formatter.write("Example:\n" if len(examples) == 1 else "Examples:\n")
    for example in examples:
        formatter.write(f"  {example}\n")
    formatter.write("\n")


def command(
    name: str, options: Sequence[Callable[[Any], Any]], examples: Sequence[str]
) -> Callable[[Callable[..., int | None]], Command]:
    """A decorator that makes a function with these arguments and options the command `name`.

    The function gives the exit code, None for 0. The first line of its docstring stands in the list of commands.
    """

    def decorate(function: Callable[..., int | None]) -> Command:
        summary = (function.__doc__ or "").partition("\n")[0].rstrip(".")
        for option in reversed(options):
            function = option(function)
        made = click.command(
            name, cls=Command, examples=examples, short_help=summary, context_settings=SETTINGS
        )
        return made(function)

    return decorate
