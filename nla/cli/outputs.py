"""Outputs: checked before the work starts, written in one step, so that nothing is lost or half-written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from nla.checkpoint.atomic import atomic_write, check_output
from nla.cli import endings
from nla.errors import OutputError, printable

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection
    from nla.outcomes import Outcome
    from nla.verification import Verification
    from nla.weights.results import WeightInspection

EXTERNAL_SUFFIX = ".data"
"""As `nla.checkpoint.writing` has it."""
STANDARD_OUTPUT = "-"


def check(outputs: Iterable[str | None], sources: Iterable[str | None], model: str | None = None) -> None:
    """Make sure that every output can be written, before time is spent on what goes into it.

    `sources` are the files that are read: never written over. `model` is the output that is a model, beside which
    its external data may go.

    Raises:
        OutputError: an output that cannot be written, is a source, or is asked for twice.
    """
    read = [source for source in sources if source]
    taken = {os.path.realpath(f"{model}{EXTERNAL_SUFFIX}") for model in (model,) if model}
    for path in outputs:
        if path is None or path == STANDARD_OUTPUT or (path == model and os.path.isdir(path)):
            continue  # whether a folder may be the output is for the verb to say: it knows what the model is
        check_output(path, sources=read)
        if os.path.realpath(path) in taken:
            raise OutputError(f"cannot write {printable(path)}: two outputs bear this name")
        taken.add(os.path.realpath(path))


def check_recording(path: str | None) -> None:
    """Refuse standard output for a recording, which is no text and is read by seeking. Raises OutputError."""
    if path == STANDARD_OUTPUT:
        raise OutputError("cannot write a recording to standard output: name a file, such as run.h5")


def check_neurons(neurons: bool, json_file: str | None, *, replays: bool = True) -> None:
    """Refuse --neurons where no document holds the rows that it asks for. Raises click.UsageError."""
    if neurons and not json_file:
        raise click.UsageError("--neurons is for the document: name it with --json, or see `nla neurons`")
    if neurons and not replays:
        raise click.UsageError("--neurons writes what a replay saw of each neuron: give --data")


def check_model(paths: Iterable[str | None]) -> None:
    """Refuse standard output for a model and what belongs to it, which are no text. Raises OutputError."""
    if STANDARD_OUTPUT in paths:
        raise OutputError(
            "cannot write a model or its masks to standard output: name a file, such as out.onnx"
        )


def check_edit(given: Mapping[str, Any], json_file: str | None) -> None:
    """Check the outputs of a command that edits a model and verifies it. Raises OutputError, click.UsageError."""
    if given["output"] is None:
        raise click.UsageError("name the resulting model with -o")
    check_model([given["output"]])
    if given["manifest"] == STANDARD_OUTPUT:
        raise OutputError("the manifest is written beside the model: name a file, such as manifest.json")
    files = ("model", "data", "labels", "mask", "criteria", "tokenizer", "graph", "processor")
    read = [given.get(name) for name in (*files, "certificates", "ranges")]
    check([given["output"], given["manifest"], json_file], read, given["output"])


def put(path: str, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; '-' is standard output. Raises OutputError."""
    if path == STANDARD_OUTPUT:
        from nla.rendering.terminal import stream

        stream().write(text)
    else:
        atomic_write(path, text.encode())
        wrote(path)


def put_binary(path: str, fill: Callable[[BinaryIO], object]) -> None:
    """Let `fill` write bytes to `path`, whole or not at all; '-' is standard output, which is no terminal then.

    Raises:
        OutputError: it cannot be written.
    """
    if path != STANDARD_OUTPUT:
        atomic_write(path, fill)
        wrote(path)
        return
    try:
        fill(sys.stdout.buffer)
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise OutputError(f"cannot write to standard output: {fault.strerror}") from fault


def put_document(path: str, found: Any) -> None:
    """Write the document that a result is, as strict JSON. Raises OutputError."""
    from nla.rendering.strict_json import json_text

    put(path, json_text(found.to_dict()))


def wrote(path: str) -> None:
    """Note an output that is complete, for the message of an interrupt that comes later."""
    endings.written.append(path)


def show(
    found: Inspection | WeightInspection, json_file: str | None, quiet: bool, neurons: bool = False
) -> None:
    """Write the document where it was asked for; print the table unless something else takes its place.

    With `neurons` the document holds a row for each neuron.
    """
    from nla.weights.results import WeightInspection

    if json_file:
        from nla.lifecycle.document import document
        from nla.rendering.strict_json import json_text

        plain = found.to_dict() if isinstance(found, WeightInspection) else document(found, neurons=neurons)
        put(json_file, json_text(plain))
    if quiet or json_file == STANDARD_OUTPUT:
        return
    if isinstance(found, WeightInspection):
        from nla.rendering.weights import print_weights

        print_weights(found)
    else:
        from nla.rendering.text import print_inspection

        print_inspection(found)


def show_verification(seen: Verification, json_file: str | None, quiet: bool) -> None:
    """Write the document where it was asked for; print the comparison unless something else takes its place."""
    if json_file:
        from nla.rendering.strict_json import json_text
        from nla.verification.document import document

        put(json_file, json_text(document(seen)))
    if not quiet and json_file != STANDARD_OUTPUT:
        from nla.rendering.verification import print_verification

        print_verification(seen)


def show_outcome(outcome: Outcome, json_file: str | None, quiet: bool) -> int:
    """What was done and what it did; the exit code, 1 where verification did not hold and nothing was kept."""
    if outcome.output is not None:
        wrote(str(outcome.output))
        for path in outcome.manifests:
            wrote(str(path))
    if json_file:
        from nla.rendering.strict_json import json_text
        from nla.verification.document import document

        surgery = [each.report.to_dict() for each in outcome.rounds]
        put(json_file, json_text({**document(outcome.verification), "surgery": surgery}))
    if not quiet and json_file != STANDARD_OUTPUT:
        from nla.rendering.verification import print_outcome

        print_outcome(outcome)
    return 0 if outcome.output is not None else 1
