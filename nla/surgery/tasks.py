"""What the supervised child does for `nla apply`, `nla undo`: carry a manifest out, write the result, try it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from nla.architectures.opening import build, open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import OnnxCheckpoint, open_onnx
from nla.checkpoint.safetensors_source import looks_like_safetensors, open_safetensors
from nla.errors import ModelError, NlaError, UsageError, printable
from nla.graph.cost import multiply_adds
from nla.graph.prepare import prepare
from nla.manifest.document import Manifest
from nla.replay.session import give_memory_back
from nla.replay.trial import refusal, try_built, try_out
from nla.surgery import carried
from nla.surgery.carry_out import carry_out
from nla.surgery.layout import carry_out_within, same_graph
from nla.surgery.outline import outline
from nla.surgery.report import DIGEST, STAYED, SurgeryReport
from nla.surgery.rewriting import is_graph, keep_undo, revision, rounded, write

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
    checkpoint = _opened(arguments, manifest, report)
    built = isinstance(checkpoint, BuiltCheckpoint)
    output = arguments["output"]
    if isinstance(checkpoint, BuiltCheckpoint) and (output is None or not is_graph(output)):
        done = _rewritten(checkpoint, arguments, manifest, report)
    else:
        try:
            done = _edited(checkpoint, arguments, manifest, report)
        except (NlaError, MemoryError):
            raise
        except Exception:
            if not built:
                _blame_the_model(arguments["model"])
            raise
        give_memory_back()  # the edit holds the source's weights, and the trial takes memory of its own
        if output is not None:
            assert done.bytes_after is not None
            notes = try_out(output, None if built else arguments["model"], done.bytes_after, report)
            done = replace(done, notes=(*done.notes, *notes))
    external = [str(checkpoint.folder / file.location) for file in checkpoint.external_files]
    return {"report": done.to_dict(), "external": external}, {}


def _opened(arguments: Arguments, manifest: Manifest, report: Report) -> OnnxCheckpoint:
    """The checkpoint, of the digest that the manifest is for unless --force says otherwise."""
    report({"phase": "reading the model"})
    checkpoint = open_checkpoint(
        arguments["model"],
        on_hashed=lambda done, total: report({"phase": "reading the model", "done": done, "total": total}),
        **arguments.get("construction", {}),
    )
    if not arguments["force"]:
        check_digest(checkpoint, manifest)
    return checkpoint


def _rewritten(
    checkpoint: BuiltCheckpoint, arguments: Arguments, manifest: Manifest, report: Report
) -> SurgeryReport:
    """Carry out what the layout of a safetensors checkpoint allows, write it in that layout, and try that."""
    given = arguments.get("construction", {})
    report({"phase": "carrying out the manifest"})
    within = carry_out_within(checkpoint, manifest, arguments["round_to"], partial(build, **given))
    done = _counted(within.report, within.edit, manifest)
    made = revision(checkpoint, within, _metadata(manifest, done, arguments["digest"]))
    done = replace(done, notes=(*done.notes, *rounded(made, done)))
    output = arguments["output"]
    if output is None:
        return replace(done, bytes_after=made.size_bytes())
    report({"phase": "writing"})
    notes = write(made, output)
    report({"phase": "reading the result"})
    result = open_checkpoint(output, **given)
    if not isinstance(result, BuiltCheckpoint) or not same_graph(result.proto, within.edit.model):
        raise RuntimeError("surgery made a checkpoint whose graph is not the edited one; nothing was written")
    notes += tuple(try_built(result, report))
    if arguments["undo"] is not None:
        keep_undo(made, arguments["undo"], result.source.digest)
    return replace(done, bytes_after=result.size_bytes, notes=(*done.notes, *notes))


def _blame_the_model(path: str) -> None:
    """Raises ModelError where a model at which the surgery stumbled is none that onnx or onnxruntime takes."""
    why = refusal(path)
    if why is not None:
        raise ModelError(f"{printable(path)}: cannot be edited, for it fails at {why}") from None


def _edited(
    checkpoint: OnnxCheckpoint, arguments: Arguments, manifest: Manifest, report: Report
) -> SurgeryReport:
    """Carry out and write a graph with its weights, or only count where there is no output."""
    report({"phase": "carrying out the manifest"})
    edit = ModelEdit(checkpoint)
    done = _counted(carry_out(edit, manifest, round_to=arguments["round_to"]), edit, manifest)
    if arguments["output"] is None:
        return replace(done, bytes_after=edit.size_bytes())
    report({"phase": "writing"})
    written = edit.write(
        arguments["output"],
        metadata=_metadata(manifest, done, arguments["digest"]),
        undo=arguments["undo"],
    )
    return replace(done, bytes_after=written.size_bytes)


def _counted(done: SurgeryReport, edit: ModelEdit, manifest: Manifest) -> SurgeryReport:
    """With multiply-adds of one sample; for a graph that leaves its sizes free, of one with the data's sizes."""
    built = isinstance(edit.checkpoint, BuiltCheckpoint)
    shapes = {name: (1, *sizes[1:]) for name, sizes in manifest.shapes.items() if sizes} if built else {}
    before, after = (
        multiply_adds(prepare(checkpoint, manifest.constants, shapes).model)
        for checkpoint in (edit.checkpoint, outline(edit))
    )
    return replace(done, multiply_adds_before=before, multiply_adds_after=after)


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
    from nla.checkpoint.safetensors_undo import restore_folder
    from nla.checkpoint.undo import restore

    report({"phase": "restoring"})
    if looks_like_safetensors(arguments["model"]):
        folder = restore_folder(arguments["undo"], open_safetensors(arguments["model"]), arguments["output"])
        return {"identical": folder.identical, "digest": folder.digest}, {}
    restored = restore(arguments["undo"], open_onnx(arguments["model"]), arguments["output"])
    return {"identical": restored.identical, "digest": restored.written.digest}, {}
