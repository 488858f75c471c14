"""A manifest carried out on a safetensors checkpoint and written in its own layout."""

from __future__ import annotations

from collections.abc import Mapping

from nla.checkpoint.atomic import atomic_write
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.safetensors_undo import record
from nla.checkpoint.safetensors_writing import Revised, Revision, write_file, write_folder
from nla.checkpoint.writing import pour
from nla.errors import OutputError, printable
from nla.surgery.layout import Within
from nla.surgery.report import SurgeryReport

_HALVES = {"F16": "float16", "BF16": "bfloat16"}
_COMPUTED = ("fold", "merge", "reset", "shift")
"""Actions that put numbers into weights which were not there: sums, draws, what goes into a bias."""


def is_graph(output: str) -> bool:
    """Whether an edited checkpoint is written as a graph with its weights."""
    return output.lower().endswith(".onnx")


def revision(checkpoint: BuiltCheckpoint, within: Within, metadata: Mapping[str, str]) -> Revision:
    """What the layout is to hold after the edit; `metadata` only where the edit changes anything."""
    edit = within.edit
    tensors = {name: Revised(edit.shape(name), edit.piece(name)) for name in edit.touched}
    return Revision(checkpoint.source, tensors, within.config, metadata if edit.changed else {})


def write(made: Revision, output: str) -> tuple[str, ...]:
    """Write the revision to `output`, a folder or, where it has no config.json, a file; what to say of it.

    Raises OutputError, ModelError.
    """
    check_file(made, output)
    if _is_file(output):
        write_file(output, made)
        return ()
    return tuple(write_folder(output, made))


def keep_undo(made: Revision, undo: str, edited: str) -> None:
    """Write the undo file of the revision that gave a checkpoint of this digest. Raises OutputError, ModelError."""
    atomic_write(undo, lambda file: pour(file, record(made, edited)))


def check_file(made: Revision, output: str) -> None:
    """Refuse a file for what takes a folder. Raises OutputError."""
    if _is_file(output) and (made.source.config is not None or len(made.source.files) > 1):
        raise OutputError(
            f"cannot write {printable(output)}: this checkpoint has a config.json or several files, and is written as "
            "a folder; name a folder, or an .onnx file"
        )


def _is_file(output: str) -> bool:
    return output.lower().endswith(".safetensors")


def rounded(made: Revision, report: SurgeryReport) -> tuple[str, ...]:
    """What numbers that the edit computed were rounded to, where the weights are stored in few bits."""
    types = (made.source.tensors[name].dtype for name in made.tensors)
    kinds = sorted({_HALVES[dtype] for dtype in types if dtype in _HALVES})
    if not kinds or not report.done(*_COMPUTED):
        return ()
    return (f"the weights are stored in {' and '.join(kinds)}: what the edit computes is rounded to it",)
