"""What the supervised child does for `nla apply`, `nla undo`: carry a manifest out, write the result, try it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import OnnxCheckpoint, open_onnx
from nla.errors import ModelError, NlaError, UsageError, printable
from nla.graph.cost import multiply_adds
from nla.graph.prepare import prepare
from nla.manifest.document import Manifest
from nla.replay.session import give_memory_back
from nla.replay.trial import refusal, try_out
from nla.surgery import carried
from nla.surgery.carry_out import carry_out
from nla.surgery.outline import outline
from nla.surgery.report import DIGEST, STAYED, SurgeryReport

Arguments = Mapping[str, Any]
Report = Callable[[dict[str, Any]], None]
Result = tuple[dict[str, Any], dict[str, NDArray[Any]]]


def apply(arguments: Arguments, arrays: Mapping[str, NDArray[Any]], report: Report) -> Result:
    """The surgery's report, and the external files of the source; the edited model lies at `output`.

    Raises:
        UsageError: the manifest is for another checkpoint, or names what the checkpoint has not.
        ModelError, OutputError: the checkpoint cannot be read or edited, or the result cannot be written.
    """
    manifest = Manifest.from_dict(arguments["manifest"])
    try:
        done, external = _edited(arguments, manifest, report)
    except (NlaError, MemoryError):
        raise
    except Exception:
        _blame_the_model(arguments["model"])
        raise
    give_memory_back()  # the edit holds the source's weights, and the trial takes memory of its own
    output = arguments["output"]
    if output is not None:
        assert done.bytes_after is not None
        notes = try_out(output, arguments["model"], done.bytes_after, report)
        done = replace(done, notes=(*done.notes, *notes))
    return {"report": done.to_dict(), "external": external}, {}


def _blame_the_model(path: str) -> None:
    """Raises ModelError where a model at which the surgery stumbled is none that onnx or onnxruntime takes."""
    why = refusal(path)
    if why is not None:
        raise ModelError(f"{printable(path)}: cannot be edited, for it fails at {why}") from None


def _edited(arguments: Arguments, manifest: Manifest, report: Report) -> tuple[SurgeryReport, list[str]]:
    """Carry out and write, or only count where there is no output."""
    report({"phase": "reading the model"})
    checkpoint = open_onnx(
        arguments["model"],
        on_hashed=lambda done, total: report({"phase": "reading the model", "done": done, "total": total}),
    )
    if not arguments["force"]:
        check_digest(checkpoint, manifest)
    report({"phase": "carrying out the manifest"})
    edit = ModelEdit(checkpoint)
    done = carry_out(edit, manifest, round_to=arguments["round_to"])
    done = replace(
        done,
        multiply_adds_before=multiply_adds(prepare(checkpoint).model),
        multiply_adds_after=multiply_adds(prepare(outline(edit)).model),
    )
    external = [str(checkpoint.folder / file.location) for file in checkpoint.external_files]
    if arguments["output"] is None:
        return replace(done, bytes_after=edit.size_bytes()), external
    report({"phase": "writing"})
    written = edit.write(
        arguments["output"],
        metadata=_metadata(manifest, done, arguments["digest"]),
        undo=arguments["undo"],
    )
    return replace(done, bytes_after=written.size_bytes), external


def check_digest(checkpoint: OnnxCheckpoint, manifest: Manifest) -> None:
    """Refuse a checkpoint that the manifest was not made for. Raises UsageError."""
    expected = str(manifest.checkpoint["digest"])
    if checkpoint.digest != expected:
        named = printable(manifest.checkpoint.get("path", ""))
        raise UsageError(
            f"{printable(checkpoint.path)}: its digest is {checkpoint.digest[:16]}…, the manifest was made for "
            f"{named + ', ' if named else ''}{expected[:16]}…: plan again for this one, or --force"
        )


def _metadata(manifest: Manifest, done: SurgeryReport, digest: str | None) -> dict[str, str]:
    """What the written model says of the manifest; without a digest, of the manifest as it was carried out."""
    if not manifest.actions:
        return {}
    if digest is None:
        return {DIGEST: carried.digest(carried.carried_out(manifest, done))}
    stayed = {name: list(units) for name, units in done.stayed().items()}
    return {DIGEST: digest, **({STAYED: json.dumps(stayed, separators=(",", ":"))} if stayed else {})}


def undo(arguments: Arguments, arrays: Mapping[str, NDArray[Any]], report: Report) -> Result:
    """Whether every file is what it was; the original of the edited model `model` lies at `output`."""
    from nla.checkpoint.undo import restore

    report({"phase": "restoring"})
    restored = restore(arguments["undo"], open_onnx(arguments["model"]), arguments["output"])
    return {"identical": restored.identical, "digest": restored.written.digest}, {}
