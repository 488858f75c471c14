"""Errors that name the thing, the value, what was expected and what to do.

Everything the user can mend descends from `NlaError`, is one line, and knows its exit code. A defect of ours is
never an `NlaError`: it stays a traceback.
"""

from __future__ import annotations

import unicodedata

_LONGEST_NAME = 200


class NlaError(Exception):
    """The user's input is at fault; `exit_code` is what the command line ends with."""

    exit_code = 2


class ModelError(NlaError):
    """A checkpoint that cannot be read, is malformed, or holds what nla does not handle."""


class DataError(NlaError):
    """Calibration data, labels or masks that cannot be read or do not fit the model."""


class UsageError(NlaError):
    """An option or argument that makes no sense, alone or with the others."""


class OutputError(NlaError):
    """An output that cannot be written; nothing of it was left behind."""


class RecordingError(NlaError):
    """A recording that cannot be read, or recordings that cannot be merged."""


class LimitError(NlaError):
    """A file made a library crash, hang, or ask for more memory than the limit."""


class MissingExtraError(NlaError):
    """An optional library is needed; the message names the command that installs it.

    That is an `extra` of nla, or what to `install` where nla has none for it.
    """

    def __init__(self, what: str, extra: str = "", *, install: str = "") -> None:
        wanted = install or f"'nla[{extra}]'"
        super().__init__(f"{what} needs an optional library: pip install {wanted}")


class Interrupted(NlaError):  # noqa: N818 - not a fault: the user asked for it
    """Ctrl-C. Nothing was left half-written."""

    exit_code = 130


def printable(text: object, limit: int = _LONGEST_NAME) -> str:
    r"""`text` with control, bidirectional and unprintable characters escaped, cut to `limit` characters.

    Names come from strangers' files: an escape sequence in a tensor name must not reach the terminal.

    >>> printable("relu\x1b[31m")
    'relu\\x1b[31m'
    """
    escaped = "".join(
        c if _is_plain(c) else c.encode("unicode_escape").decode() for c in str(text)[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def _is_plain(character: str) -> bool:
    return character == " " or (
        character.isprintable() and unicodedata.category(character) not in ("Cf", "Cs", "Co")
    )


def one_line(text: object, limit: int = 600) -> str:
    r"""`text` as one printable line: what a library said, made fit for an error of ours.

    >>> one_line("a\n  b")
    'a b'
    """
    return printable(" ".join(str(text).split()), limit)
