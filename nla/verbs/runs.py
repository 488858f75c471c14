"""What the verbs that compare checkpoints begin with: recordings, inspection documents and inspections as runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import RecordingError, UsageError, one_line, printable
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection, path_of
from nla.runs import born, naming
from nla.runs.agreeing import check_agree, criteria_for
from nla.runs.of_document import from_document
from nla.runs.of_inspection import of
from nla.runs.reading import is_recording, read_json
from nla.runs.run import Run
from nla.runs.steps import read_steps
from nla.verbs.construction import is_safetensors
from nla.verbs.parcel import Progress, StrPath
from nla.verbs.recordings import as_criteria, judged, read_recording
from nla.verbs.replaying import ReplayOptions

if TYPE_CHECKING:
    from nla.recording import Recording

RunLike = StrPath | Inspection


def listed(runs: RunLike | Iterable[RunLike]) -> list[RunLike]:
    """One run, or several, as a list. Raises UsageError for what is neither a path nor an inspection."""
    several = isinstance(runs, Iterable) and not isinstance(runs, str | bytes | os.PathLike | Inspection)
    given: list[RunLike] = list(runs) if several else [runs]  # type: ignore[arg-type, list-item]
    for run in given:
        if not isinstance(run, str | os.PathLike | Inspection):
            raise UsageError(
                f"{one_line(repr(run), 60)} is no run: expected the path of a recording or of an inspection document, "
                "or an inspection"
            )
    return given


def path_or_name(run: RunLike) -> str:
    """The run's file; that of its checkpoint for an inspection, which has none."""
    return path_of(run.checkpoint) or "run" if isinstance(run, Inspection) else os.fspath(run)


def reading(options: ReplayOptions) -> dict[str, Any]:
    """Those of the options of a replay that reading recordings takes."""
    names = ("memory_limit", "time_limit", "in_process", "progress")
    return {name: options[name] for name in names if name in options}  # type: ignore[literal-required]


def open_runs(
    runs: Sequence[RunLike],
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    *,
    rows: bool,
    ranks: bool = True,
    born_first: bool = False,
    steps: StrPath | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> tuple[Run, ...]:
    """The runs in the order given, labelled, all judged by the same criteria.

    Recordings are judged anew. An inspection document or an `Inspection` was judged before: where there is one, its
    criteria hold for all.

    Args:
        runs: recordings, inspection documents (JSON), and inspections.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        rows: whether a row for each neuron is needed; documents without are then refused.
        ranks: whether effective ranks are needed of recordings; they take most of the time.
        born_first: whether the first run is the checkpoint before training: its neurons, and later ones that still
            have its weights, are `born` where they would be specialised or active.
        steps: a manifest of steps (`nla.runs.steps`), whose paths are the runs, in the order of their steps; there are
            no other `runs` then.
        memory_limit: bytes that the child process, which reads a recording, may take.
        time_limit: seconds that it may take.
        in_process: read recordings in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        RecordingError: a file that is neither, or of a later version; runs that different criteria judged.
        UsageError: no runs, or a manifest that is none.
        LimitError: a file crashed, stalled or exhausted a library underneath.
    """
    named = _named(listed(runs), steps)
    asked = None if criteria is None else as_criteria(criteria)
    limits = Limits(memory_limit, time_limit)
    report = progress or (lambda told: None)
    judged_before = {
        k: run for k, each in enumerate(named) if (run := _judged_before(each, rows=rows)) is not None
    }
    thresholds = Criteria()
    if asked is not None or len(judged_before) < len(named):
        thresholds = criteria_for(list(judged_before.values()), asked)
    opened = []
    for k, each in enumerate(named):
        report({"phase": "reading runs", "done": k, "total": len(named)})
        run = judged_before.get(k)
        if run is None:
            seen = read_recording(each.path, in_process, limits)
            found = judged(seen, thresholds, ranks=ranks)
            with _named_in_errors(each.path):
                run = of(found, each.label, each.path, each.step, digests(seen))
        opened.append(run)
    report({"phase": "reading runs", "done": len(named), "total": len(named)})
    check_agree(opened)
    return born.from_first(opened) if born_first else tuple(opened)


@dataclass(frozen=True)
class _Named:
    """One of the runs, and what it is called."""

    given: RunLike
    label: str
    step: int | None

    @property
    def path(self) -> str:
        """Its file; '' for an inspection."""
        return "" if isinstance(self.given, Inspection) else os.fspath(self.given)


def _named(runs: Sequence[RunLike], steps: StrPath | None) -> list[_Named]:
    """The runs, or those of a manifest, with their labels and steps. Raises UsageError."""
    if steps is None:
        if not runs:
            raise UsageError("no run: give at least one recording or inspection document")
        paths = [path_or_name(run) for run in runs]
        return [_Named(*each) for each in zip(runs, naming.labels(paths), naming.steps(paths), strict=True)]
    if runs:
        raise UsageError("runs are named twice: give their files, or a manifest of steps")
    rows = read_steps(steps)
    labels = naming.labels([row.path for row in rows])
    own = {row.label for row in rows if row.label is not None}
    doubled = next(
        (label for row, label in zip(rows, labels, strict=True) if not row.label and label in own), None
    )
    if doubled is not None:
        raise UsageError(
            f"{printable(steps)}: two rows would be called {printable(doubled)}: give both a label"
        )
    return [_Named(row.path, row.label or label, row.step) for row, label in zip(rows, labels, strict=True)]


def _judged_before(each: _Named, *, rows: bool) -> Run | None:
    """The run of an inspection or a document; None for a recording, which is judged anew."""
    if isinstance(each.given, Inspection):
        return of(each.given, each.label, "", each.step)
    if is_recording(each.path):
        return None
    if each.path.lower().endswith(".onnx") or is_safetensors(each.path):
        raise RecordingError(
            f"{printable(each.path)} is a checkpoint, whose states are not known before data is replayed: give the "
            "recording that nla inspect -o writes, or, where the command takes it, --data"
        )
    document = read_json(each.path)
    with _named_in_errors(each.path):
        run = from_document(document, each.label, each.path, each.step)
    if rows and not run.has_rows:
        raise RecordingError(
            f"{printable(each.path)} has no row for each neuron: write it with nla inspect --json FILE --neurons, or "
            "give the recording"
        )
    return run


@contextmanager
def _named_in_errors(path: str) -> Iterator[None]:
    """Says which file an error is about."""
    try:
        yield
    except RecordingError as error:
        raise RecordingError(f"{printable(path)}: {error}") from None


def digests(seen: Recording) -> dict[str, NDArray[np.uint64]]:
    """Those of the weights, by site, where they are known."""
    known = zip(seen.sites, seen.weights, strict=False)
    return {site.name: values for site, values in known if values is not None}
