"""The verbs that change a checkpoint: apply, undo; and masks, which other pruners read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from nla.checkpoint.staging import Staged, keep_all, makes_folder, named_as_asked, staged
from nla.errors import UsageError
from nla.isolation import Limits
from nla.isolation.limits import available_bytes
from nla.manifest.document import Manifest, read
from nla.manifest.masks import Masks, weight_masks
from nla.surgery.carried import digest as digest_of
from nla.surgery.report import SurgeryReport
from nla.verbs.construction import Construction
from nla.verbs.parcel import Parcel, Progress, StrPath


def apply(
    manifest: StrPath | Manifest,
    model: StrPath,
    output: StrPath | None = None,
    *,
    record_undo: StrPath | None = None,
    round_to: int = 1,
    force: bool = False,
    dry_run: bool = False,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> SurgeryReport:
    """What surgery did: the checkpoint with the manifest carried out lies at `output`.

    The result was loaded in onnxruntime, and an ONNX file passed onnx's checker, before it got its name; the source
    is not touched. Units that cannot be edited stay, and the report says why.

    Args:
        manifest: a file that `plan` wrote, perhaps edited since, or what it returned.
        model: the checkpoint that the manifest was made for.
        output: where the edited model goes: an ONNX file, with external data in `<output>.data` where the model has
            any; for a safetensors checkpoint a folder that does not exist yet, in the same layout, in which all blocks
            have one MLP width, unless the name ends with .onnx.
        record_undo: where what the edit overwrites is kept, for `undo`.
        round_to: keep units so that every width that changes is a multiple of this.
        force: edit a checkpoint of another digest too.
        dry_run: carry out and count, but write nothing.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file; as the manifest says where neither is given.
        activation: what stands between these layers, likewise.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError: no manifest, one for another checkpoint, or one that names what the checkpoint has not.
        ModelError: the checkpoint cannot be read.
        OutputError: the output cannot be written, or is the source.
    """
    given, digest = opened(manifest)
    if (output is None) != dry_run:
        what = "dry_run writes no output" if dry_run else "no output is named"
        raise UsageError(f"{what}: give an output, or dry_run")
    if dry_run and record_undo is not None:
        raise UsageError("dry_run changes nothing that could be undone: leave record_undo out")
    surgery = Surgery(
        round_to=round_to,
        force=force,
        construction=Construction.of(graph, layers, activation),
        limits=Limits(memory_limit, time_limit),
        in_process=in_process,
        progress=progress,
    )
    sources = [] if isinstance(manifest, Manifest) else [manifest]
    return surgery.run(given, digest, model, output, record_undo, sources)


@dataclass(frozen=True)
class Surgery:
    """How a manifest is carried out."""

    round_to: int = 1
    force: bool = False
    construction: Construction = field(default_factory=Construction)
    limits: Limits = field(default_factory=Limits)
    in_process: bool = False
    progress: Progress | None = None

    def run(
        self,
        manifest: Manifest,
        digest: str | None,
        model: StrPath,
        output: StrPath | None,
        record_undo: StrPath | None = None,
        sources: Sequence[StrPath] = (),
    ) -> SurgeryReport:
        """The report; `digest` None: the written model names the manifest as it was carried out."""
        check_round_to(self.round_to)
        read = [model, *sources]
        with ExitStack() as stack:
            made = None if output is None else stack.enter_context(_staged(output, model, read))
            kept = None if record_undo is None else stack.enter_context(staged(record_undo, read))
            parcel = Parcel()
            parcel.arguments.update(
                model=os.fspath(model),
                manifest=manifest.to_dict(),
                digest=digest,
                output=None if made is None else str(made.path),
                undo=None if kept is None else str(kept.path),
                force=self.force,
                round_to=self.round_to,
                construction=self.construction.given() or Construction.recorded(manifest.checkpoint).given(),
            )
            outputs = [each for each in (kept, made) if each is not None]
            with named_as_asked(*outputs):
                plain, _ = parcel.run("nla.surgery.tasks:apply", self.limits, self.progress, self.in_process)
            keep_all(outputs, plain["external"])
        return SurgeryReport.from_dict(plain["report"])


def _staged(output: StrPath, model: StrPath, read: Sequence[StrPath]) -> AbstractContextManager[Staged]:
    """A place for an edit of the model: a folder for that of a safetensors checkpoint, unless a file is named."""
    return staged(output, read, is_folder=makes_folder(model, output))


def opened(manifest: StrPath | Manifest) -> tuple[Manifest, str]:
    """The manifest and its digest: sha256 of the file, or of the text that it would be written as.

    Raises:
        UsageError: the file is no manifest.
    """
    if isinstance(manifest, Manifest):
        return manifest, digest_of(manifest)
    found = read(manifest)
    with open(manifest, "rb") as file:
        return found, sha256(file.read()).hexdigest()


def check_round_to(round_to: object) -> None:
    """Raises UsageError unless it is a whole number from 1."""
    if not isinstance(round_to, int) or isinstance(round_to, bool) or round_to < 1:
        raise UsageError(f"round_to is {round_to}, expected a whole number from 1")


def undo(
    undo: StrPath,
    model: StrPath,
    output: StrPath,
    *,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Undone:
    """The original model, brought back to `output` from an edited one and what `apply` recorded.

    Args:
        undo: the file that `apply(record_undo=…)` wrote.
        model: the edited model that it belongs to.
        output: where the original goes.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError, ModelError: the undo file is none, or belongs to another model.
        OutputError: the output cannot be written, or is a file that is read.
    """
    with _staged(output, model, [undo, model]) as made:
        parcel = Parcel()
        parcel.arguments.update(undo=os.fspath(undo), model=os.fspath(model), output=str(made.path))
        limits = Limits(memory_limit, time_limit)
        with named_as_asked(made):
            plain, _ = parcel.run("nla.surgery.tasks:undo", limits, progress, in_process)
        made.keep()
    return Undone(Path(output), plain["identical"])


@dataclass(frozen=True)
class Undone:
    """What `undo` returns."""

    path: Path
    identical: bool
    """Whether every file is, byte for byte, what it was; else every weight and the graph are."""


def masks(manifest: StrPath | Manifest, output: StrPath) -> Masks:
    """Boolean masks, one for each weight tensor that holds a unit which is to go; written as safetensors.

    In the names and shapes of the checkpoint; False for the incoming weights, the bias and the outgoing weights of
    every silent unit (remove, mask), so that multiplying leaves the outputs unchanged. The manifest alone is read.

    Args:
        manifest: a file that `plan` wrote, or what it returned.
        output: where the masks go.

    Raises:
        UsageError: no manifest, or one whose units lie outside of the weights that it names.
        OutputError: the output cannot be written.
    """
    from nla.checkpoint.masks_file import write_masks

    given, digest = opened(manifest)
    found = weight_masks(given, available_bytes())
    sources = [] if isinstance(manifest, Manifest) else [manifest]
    metadata = {"nla.manifest": digest, "nla.checkpoint": str(given.checkpoint["digest"])}
    write_masks(output, found.masks, metadata=metadata, sources=sources)
    return found
