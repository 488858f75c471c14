"""Where text goes: a console that fits its terminal and its encoding, with colour only where it is wanted."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

from rich.box import Box
from rich.color import ColorSystem
from rich.console import Console
from rich.table import Table
from rich.theme import Theme

from nla.errors import OutputError

WIDTH_WITHOUT_TERMINAL = 100
_NARROWEST = 60

STYLES = {
    "dead": "red",
    "constant": "magenta",
    "saturated": "yellow",
    "dormant": "cyan",
    "born": "blue",
    "specialised": "green",
    "active": "default",
    "unknown": "dim",
    "quiet": "dim",
    "head": "bold",
    "warning": "bold yellow",
    "alarm": "bold reverse red",
    "command": "cyan",
}
"""The terminal's own sixteen colours only: its owner has made them readable, on dark and on light."""

_PLAIN = str.maketrans("…·—–─│×′█▓▒░▪▫", "~.---|x'#=+-*o") | str.maketrans(
    {"≤": "<=", "≥": ">=", "φ": "phi", "ρ": "rho", "τ": "tau", "α": "alpha"}
)


_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\w*\[)", re.MULTILINE)
"""What hosted CIs read as a command to them: a line that begins with ::, and ##[ or ##vso[ anywhere."""

_RULES = Box("    \n    \n ── \n    \n    \n ── \n    \n    \n", ascii=True)
"""Lines under the head and over the foot of a table, nothing else; `_Stream` writes them in ASCII too."""


class _Stream(io.TextIOBase):
    """`target`, with a full disk as a clear line and plain characters where its encoding has no others.

    Text for people (`trim`) holds names from files: none of it is left that a hosted CI would obey.
    """

    def __init__(self, target: TextIO, trim: bool) -> None:
        self._target = target
        self._for_people = trim
        self._trim = trim and not target.isatty()
        self._unicode = (target.encoding or "utf-8").lower().replace("-", "").startswith("utf")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._target.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._target.isatty()

    def fileno(self) -> int:
        return self._target.fileno()

    def write(self, text: str) -> int:
        text = re.sub(r" +$", "", text, flags=re.MULTILINE) if self._trim else text
        text = _COMMAND.sub(_disarmed, text) if self._for_people else text
        try:
            return self._target.write(text if self._unicode else text.translate(_PLAIN))
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise OutputError(f"cannot write to standard output: {fault.strerror}") from fault

    def flush(self) -> None:
        try:
            self._target.flush()
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise OutputError(f"cannot write to standard output: {fault.strerror}") from fault


def _disarmed(found: re.Match[str]) -> str:
    """Its first mark escaped, as control characters are."""
    mark = found.group()[-1]
    return f"{found.group()[:-1]}\\x{ord(mark):02x}"


def stream(target: TextIO | None = None, trim: bool = False) -> Any:
    """Standard output, or `target`, safe to write any text to; `trim` drops spaces at the ends of lines."""
    return _Stream(target or sys.stdout, trim)


def painter(out: Console) -> Callable[[str, str], str]:
    """What gives a text the style of that name, where `out` shows styles: for output too long for rich."""
    if out.color_system is None or out.no_color:
        return lambda text, style: text
    return lambda text, style: out.get_style(style).render(text, color_system=ColorSystem.STANDARD)


class _Console(Console):
    """rich's console, which leaves it to the command line how a run ends whose reader went away."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def console(target: TextIO | None = None, width: int | None = None) -> Console:
    """A console on standard output, or on `target`.

    As wide as the terminal; where there is none, $COLUMNS or 100. Colours follow the terminal and NO_COLOR.
    """
    made = _Console(
        file=stream(target, trim=True),
        width=width,
        theme=Theme(STYLES),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )
    if width is None and not made.is_terminal:
        columns = os.environ.get("COLUMNS", "")
        made.width = int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH_WITHOUT_TERMINAL
    made.width = max(made.width, _NARROWEST)
    return made


def ruled(gap: int = 2, *, footer: bool = False) -> Table:
    """An empty table: lines under its head and over its foot, and `gap` spaces between columns."""
    return Table(
        box=_RULES,
        show_edge=False,
        show_footer=footer,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
        header_style="head",
    )
