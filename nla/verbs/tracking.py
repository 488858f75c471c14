"""The verb that follows a network over its training: track."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Unpack

from nla.errors import UsageError, printable
from nla.lifecycle.results import Inspection
from nla.runs import born, naming
from nla.runs.agreeing import check_agree
from nla.runs.ordering import ORDERS, in_order
from nla.runs.reading import is_recording
from nla.runs.steps import Step, read_steps
from nla.tracking import choosing
from nla.tracking.results import Tracking, tracked
from nla.tracking.same_data import check_data
from nla.verbs.construction import is_safetensors
from nla.verbs.parcel import StrPath
from nla.verbs.replaying import ReplayOptions, check_known
from nla.verbs.runs import RunLike, listed, open_runs, path_or_name, reading
from nla.verbs.series import Series
from nla.verbs.verifying import Data

if TYPE_CHECKING:
    from nla.runs.run import Run

_OF_REPLAYS = (
    *("labels", "mask", "limit", "held_out", "inputs", "image", "tokenizer", "max_length", "exclude_bos"),
    *("processor", "constants", "graph", "layers", "activation"),
)


def track(
    runs: Sequence[RunLike] = (),
    data: Data = None,
    *,
    order: str = "auto",
    steps: StrPath | None = None,
    first_is_initial: bool | None = None,
    skip_unlike: bool = False,
    different_data: bool = False,
    recordings: StrPath | None = None,
    **options: Unpack[ReplayOptions],
) -> Tracking:
    """How a network came to be as it is: states of every neuron over its checkpoints, transitions, survival, deaths.

    Args:
        runs: recordings, inspections or their JSON documents with a row for each neuron, and, with `data`,
            checkpoints, which are replayed one after another. None where a manifest of steps lists them.
        data: calibration data for the checkpoints, as `inspect` takes it, and so are the `options`.
        order: 'auto' (by training step, where names or the manifest tell it), 'given', or 'natural' (by name, numbers
            in it counting as numbers).
        steps: a manifest of training steps: CSV or JSON with path and step, or ML-Agents' training_status.json.
        first_is_initial: whether the first checkpoint is that before training, whose neurons are `born`; None: it is
            where its training step is 0.
        skip_unlike: leave out runs of another architecture than the first, instead of refusing.
        different_data: take runs on different data too.
        recordings: a folder that keeps the recordings of checkpoints; one that is there already, of the same
            checkpoint, data and settings, is used again.

    Raises:
        UsageError: fewer than two checkpoints, or they are of different architectures or data.
        RecordingError: a file that is no run, or runs judged by different criteria.
        ModelError, DataError, LimitError, OutputError: with `data`: as `inspect`.
    """
    check_known("track", options)
    replays = data is not None or options.get("synthetic") is not None
    given, notes = _given(runs, order, steps, replays)
    if not given:
        raise UsageError(
            "no run: give two or more recordings, or checkpoints with --data, or a manifest of --steps"
        )
    if len(given) < choosing.FEWEST:
        raise UsageError("one checkpoint is no series: states over time need two or more, given together")
    _check_replays(given, replays, {**options, "data": data, "runs": recordings})
    opened = _opened(given, Series(data, recordings, options))
    whole, repeats = choosing.without_repeats(opened)
    alike, unlike = choosing.of_one_architecture(whole, skip_unlike)
    left_out = (*repeats, *unlike)
    choosing.enough(alike, left_out)
    initial, decided = _initial(alike[0], first_is_initial)
    gone = tuple(f"{printable(run.label)} " for run in opened if not any(run is each for each in alike))
    kept = (note for note in notes if not note.startswith(gone))
    said = (*kept, *left_out, *check_data(alike, different_data), *decided)
    return tracked(born.from_first(alike) if initial else alike, initial, said)


@dataclass(frozen=True)
class _Given:
    """A run as it was given, with what it is called."""

    run: RunLike
    label: str
    step: int | None
    is_model: bool

    @property
    def path(self) -> StrPath:
        assert not isinstance(self.run, Inspection)
        return self.run


def _given(
    runs: Sequence[RunLike] | RunLike, order: str, steps: StrPath | None, replays: bool
) -> tuple[tuple[_Given, ...], tuple[str, ...]]:
    """Every run in its order, and notes on that."""
    manifest = () if steps is None else read_steps(steps)
    named: list[RunLike] = listed(runs) or [row.path for row in manifest]
    paths = [path_or_name(run) for run in named]
    labels, numbers = naming.labels(paths), naming.steps(paths)
    notes: tuple[str, ...] = ()
    if manifest:
        labels, numbers, notes = _named_by(manifest, paths, labels, numbers)
    if manifest and order == ORDERS[0]:
        places = sorted(range(len(paths)), key=lambda k: (numbers[k] is None, numbers[k] or 0))
    else:
        arranged, said = in_order(labels, numbers, order, paths)
        places, notes = list(arranged), (*notes, *said)
    made = (_Given(named[k], labels[k], numbers[k], _is_model(named[k], replays)) for k in places)
    return tuple(made), notes


def _named_by(
    manifest: Sequence[Step], paths: Sequence[str], labels: Sequence[str], numbers: Sequence[int | None]
) -> tuple[tuple[str, ...], tuple[int | None, ...], tuple[str, ...]]:
    """Labels and steps as the manifest has them, by path, else by name where the suffix alone differs; and notes.

    Of a run that it does not list, the number in the name counts where such numbers are the steps of all that it lists.
    """
    by_path = {os.path.realpath(row.path): row for row in manifest}
    stems = [PurePath(row.path).stem for row in manifest]
    by_stem = {stem: row for stem, row in zip(stems, manifest, strict=True) if stems.count(stem) == 1}
    rows = [by_path.get(os.path.realpath(path)) or by_stem.get(PurePath(path).stem) for path in paths]
    listed = [(row.step, number) for row, number in zip(rows, numbers, strict=True) if row is not None]
    agree = all(step == number for step, number in listed)
    told = [
        (number if agree else None) if row is None else row.step
        for row, number in zip(rows, numbers, strict=True)
    ]
    notes = tuple(
        f"{label} is not in the manifest of steps, and {'comes last' if step is None else 'has the step of its name'}"
        for label, row, step in zip(labels, rows, told, strict=True)
        if row is None
    )
    if not listed:
        raise UsageError(
            "the manifest of steps names none of the runs: it lists their paths, relative to its folder"
        )
    named = tuple(
        row.label if row is not None and row.label else label for label, row in zip(labels, rows, strict=True)
    )
    if len(set(named)) < len(named):
        doubled = next(name for k, name in enumerate(named) if name in named[:k])
        raise UsageError(
            f"two runs would be called {printable(doubled)}: give both a label in the manifest of steps"
        )
    return named, tuple(told), notes


def _check_replays(given: Sequence[_Given], replays: bool, options: Mapping[str, Any]) -> None:
    """Raises UsageError where data and checkpoints do not go together."""
    models = [each for each in given if each.is_model]
    if models and not replays:
        raise UsageError(
            f"{printable(models[0].path)} is a checkpoint, whose states are not known before data is replayed: give "
            "--data, or the recordings that nla inspect -o wrote"
        )
    if models:
        return
    for name in ("data", "synthetic", "runs", *_OF_REPLAYS):
        value = options.get(name)
        if value is not None and not (isinstance(value, bool | float | dict | tuple) and not value):
            raise UsageError(
                f"{name.replace('_', '-')} is for checkpoints, and every run given is the result of a replay"
            )


def _is_model(run: RunLike, replays: bool) -> bool:
    """Whether it is a checkpoint: by its suffix, or, where there is data, because it is neither JSON nor HDF5."""
    if isinstance(run, Inspection):
        return False
    name = os.fspath(run).lower()
    if name.endswith(".onnx") or is_safetensors(run):
        return True
    return replays and not (name.endswith((".json", ".h5", ".hdf5")) or is_recording(run))


def _opened(given: Sequence[_Given], series: Series) -> list[Run]:
    """Every run, judged by the same criteria, under its label."""
    others = [k for k, each in enumerate(given) if not each.is_model]
    models = [k for k, each in enumerate(given) if each.is_model]
    found: dict[int, Run] = {}
    if others:
        criteria = series.options.get("criteria")
        read = open_runs([given[k].run for k in others], criteria, rows=True, **reading(series.options))
        found.update(zip(others, read, strict=True))
    replayed = series.replay([given[k].path for k in models], [given[k].label for k in models])
    found.update(zip(models, replayed, strict=True))
    opened = [replace(found[k], label=each.label, step=each.step) for k, each in enumerate(given)]
    check_agree(opened)
    return opened


def _initial(first: Run, said: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Whether the first run is the checkpoint before training, and what is to be told of that decision."""
    if said is not None:
        told = f"{first.label} was given as the checkpoint before training: its neurons are born"
        return said, (told,) if said else ()
    if first.step != 0:
        return False, ()
    return True, (
        f"{first.label} is taken for the checkpoint before training, for its step is 0: its neurons are born; with "
        "--first-is-trained they are not",
    )
