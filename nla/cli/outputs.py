"""Outputs: checked before the work starts, written in one step, so that nothing is lost or half-written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nla.checkpoint.atomic import atomic_write, check_output
from nla.cli import endings
from nla.errors import OutputError, printable

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection

STANDARD_OUTPUT = "-"


def check(outputs: Iterable[str | None], sources: Iterable[str | None]) -> None:
    """Make sure that every output can be written, before time is spent on what goes into it.

    `sources` are the files that are read: never written over.

    Raises:
        OutputError: an output that cannot be written, is a source, or is asked for twice.
    """
    read = [source for source in sources if source]
    taken: set[str] = set()
    for path in outputs:
        if path is None or path == STANDARD_OUTPUT:
            continue
        check_output(path, sources=read)
        if os.path.realpath(path) in taken:
            raise OutputError(f"cannot write {printable(path)}: two outputs bear this name")
        taken.add(os.path.realpath(path))


def check_recording(path: str | None) -> None:
    """Refuse standard output for a recording, which is no text and is read by seeking. Raises OutputError."""
    if path == STANDARD_OUTPUT:
        raise OutputError("cannot write a recording to standard output: name a file, such as run.h5")


def put(path: str, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; '-' is standard output. Raises OutputError."""
    if path == STANDARD_OUTPUT:
        from nla.report.terminal import stream

        stream().write(text)
    else:
        atomic_write(path, text.encode())
        wrote(path)


def wrote(path: str) -> None:
    """Note an output that is complete, for the message of an interrupt that comes later."""
    endings.written.append(path)


def show(inspection: Inspection, json_file: str | None, quiet: bool) -> None:
    """Write the document where it was asked for; print the table unless something else takes its place."""
    if json_file:
        from nla.lifecycle.document import document
        from nla.report.strict_json import json_text

        put(json_file, json_text(document(inspection)))
    if not quiet and json_file != STANDARD_OUTPUT:
        from nla.report.text import print_inspection

        print_inspection(inspection)
