"""The verbs that look and judge: sites, inspect, load, merge, neurons."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nla import recording
from nla.calibration.options import CalibrationOptions
from nla.errors import UsageError
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.table import NeuronTable, neuron_table
from nla.site import Survey
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection


def sites(
    model: StrPath,
    *,
    constants: Mapping[str, Constant] | None = None,
    include: Sequence[str] = (),
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
) -> Survey:
    """The sites of a checkpoint, and what was not understood in it; no data, no run.

    Args:
        model: an ONNX file.
        constants: values of inputs that are not data; a branch that such a value decides is resolved.
        include: 'linear' for weighted outputs without an activation, 'mlp_pre' for pre-activations of MLPs.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.

    Raises:
        ModelError: the file is not a model that nla can read.
        LimitError: the file crashed, stalled or exhausted a library underneath.
    """
    parcel = Parcel()
    parcel.arguments.update(model=os.fspath(model), include=list(include))
    parcel.put_constants(constants)
    return Survey.from_plain(
        *parcel.run("nla.replay.tasks:survey", Limits(memory_limit, time_limit), None, in_process)
    )


def inspect(
    model: StrPath,
    data: StrPath | Array | Mapping[str, Array] | None = None,
    *,
    labels: StrPath | Array | None = None,
    mask: StrPath | Array | None = None,
    output: StrPath | None = None,
    held_out: float = 0.0,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    synthetic: int | None = None,
    seed: int = 0,
    constants: Mapping[str, Constant] | None = None,
    include: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
    image: Mapping[str, Any] | None = None,
    tokenizer: StrPath | None = None,
    max_length: int | None = None,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    batch_size: int | str = "auto",
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    kernel: str = "auto",
    effective_rank: str = "sample",
    histogram: str = "sample",
    pre_activations: bool = False,
    initial: StrPath | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
    verbose: bool = False,
) -> Inspection:
    """The lifecycle state of every neuron of a checkpoint, with its evidence.

    Args:
        model: an ONNX file.
        data: calibration data: a file or folder in any format of `nla.calibration`, an array for the only data input,
            or arrays by input name. The first axis of every array counts the samples.
        labels: [samples], integers or strings; a file, or the name of an array in the data.
        mask: [samples, positions], 0 for padding; a file, or the name of an array or input in the data.
        output: where the HDF5 recording goes.
        held_out: share of the samples kept for a second split, replayed separately, in [0, 1).
        limit: use the first so many samples only.
        shard: (k, n), replay part k of n only, counted from 1; `merge` joins the recordings.
        synthetic: replay so many random samples instead of data; every output then says so.
        seed: of the synthetic data.
        constants: values of inputs that are not data: a recurrent state, a sampling rate, an action mask.
        include: further roles: 'linear', 'mlp_pre'.
        inputs: array name by model input, where they differ.
        image: how a folder of images is prepared: resize, scale, mean, std, layout, channels.
        tokenizer: a tokenizer.json for text.
        max_length: tokens of a text at most.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        batch_size: samples of a run, or 'auto'.
        providers: onnxruntime's execution providers.
        threads: workers; the cores of this machine where None.
        kernel: 'numba' (the extra `fast`), 'numpy', or 'auto'.
        effective_rank: 'sample' (of the row sample) or 'exact' (of every counted row).
        histogram: 'sample' or 'exact', likewise.
        pre_activations: observe z at every site, at the price of a second pass.
        initial: the checkpoint before training: a neuron unchanged since then is `born`.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.
        verbose: let onnxruntime's own messages through.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used; the message says why and what to do.
        LimitError: the file crashed, stalled or exhausted a library underneath.
        OutputError: the recording cannot be written.
    """
    thresholds = as_criteria(criteria)
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        include=list(include),
        criteria=thresholds.to_dict(),
        batch_size=batch_size,
        providers=list(providers),
        threads=threads,
        kernel=kernel,
        effective_rank=effective_rank,
        histogram=histogram,
        pre_activations=pre_activations,
        initial=None if initial is None else os.fspath(initial),
    )
    parcel.put_data(data)
    parcel.put_options(
        CalibrationOptions(
            labels=labels,
            mask=mask,
            limit=limit,
            held_out=held_out,
            shard=shard,
            synthetic=synthetic,
            seed=seed,
            constants=tuple(constants or ()),
            rename=dict(inputs or {}),
            tokenizer=tokenizer,
            max_length=max_length,
            **dict(image or {}),
        )
    )
    parcel.put_constants(constants)
    limits = Limits(memory_limit, time_limit)
    seen = recording.from_plain(
        *parcel.run("nla.replay.tasks:inspect", limits, progress, in_process, verbose)
    )
    if output is not None:
        recording.write(seen, Path(output))
    return judged(seen, thresholds)


def load(
    run: StrPath,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    *,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
) -> Inspection:
    """The inspection that a recording holds, judged anew by the criteria.

    Thresholds that were fixed when the replay began (firing_threshold, flat_derivative) are those of the recording.

    Args:
        run: the recording.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        memory_limit: bytes that the child process, which reads the file, may take.
        time_limit: seconds that it may take.
        in_process: read the file in this process, without limits.

    Raises:
        RecordingError: the file is not a recording, or not one that this version reads.
        LimitError: the file crashed, stalled or exhausted a library underneath.
    """
    limits = Limits(memory_limit, time_limit)
    return judged(read_recording(run, in_process, limits), as_criteria(criteria))


def merge(
    runs: Sequence[StrPath],
    output: StrPath | None = None,
    *,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
) -> Inspection:
    """The inspection of several shards as one, equal to one pass over all of their samples.

    Args:
        runs: the recordings, in any order.
        output: where the merged recording goes.
        memory_limit: bytes that the child process, which reads one recording, may take.
        time_limit: seconds that reading one of them may take.
        in_process: read them in this process, without limits.

    Raises:
        RecordingError: the recordings are of different models, data or settings, or share samples.
        LimitError: a file crashed, stalled or exhausted a library underneath.
    """
    if not runs:
        raise UsageError("nothing to merge: give at least one recording")
    limits = Limits(memory_limit, time_limit)
    joined = recording.merge([read_recording(run, in_process, limits) for run in runs])
    if output is not None:
        recording.write(joined, Path(output))
    return judged(joined, Criteria())


def neurons(
    run: StrPath,
    *,
    site: Sequence[str] = (),
    state: Sequence[str] = (),
    flag: Sequence[str] = (),
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
) -> NeuronTable:
    """One row per neuron of a recording: its state, flags and evidence; filtered by site, state and flag.

    Args:
        run: the recording.
        site: names of sites; all where empty.
        state: states; all where empty.
        flag: flags, of which a neuron bears one; all neurons where empty.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        memory_limit: bytes that the child process, which reads the file, may take.
        time_limit: seconds that it may take.
        in_process: read the file in this process, without limits.

    Raises:
        RecordingError: the file is not a recording.
        UsageError: no such site, state or flag.
        LimitError: the file crashed, stalled or exhausted a library underneath.
    """
    thresholds = as_criteria(criteria)
    seen = read_recording(run, in_process, Limits(memory_limit, time_limit))
    return neuron_table(judged(seen, thresholds, ranks=False), site, state, flag)


def as_criteria(criteria: Criteria | StrPath | Mapping[str, Any] | None) -> Criteria:
    """The criteria, given as such, as a TOML file, or as values by name.

    Raises:
        UsageError: an unknown name, or a value out of its range.
    """
    if criteria is None:
        return Criteria()
    if isinstance(criteria, Criteria):
        return criteria
    return (
        Criteria.from_dict(criteria) if isinstance(criteria, Mapping) else Criteria.from_toml(Path(criteria))
    )


def read_recording(run: StrPath, in_process: bool, limits: Limits | None = None) -> recording.Recording:
    """The recording in a file, read in the supervised child. Raises RecordingError, LimitError."""
    parcel = Parcel()
    parcel.arguments.update(path=os.fspath(run))
    plain = parcel.run("nla.recording:read_plain", limits or Limits(), None, in_process)
    return recording.from_plain(*plain)


def judged(seen: recording.Recording, criteria: Criteria, *, ranks: bool = True) -> Inspection:
    """The states and findings of a recording; thresholds that its replay fixed are taken from it.

    Without `ranks` the effective ranks, and what they would have found, are left out: they take most of the time.
    """
    names = tuple(seen.settings["labels"])
    splits = {
        name: dict(zip((s.name for s in seen.sites), split.measure(names, ranks=ranks), strict=True))
        for name, split in seen.splits.items()
    }
    fixed = {name: seen.settings[name] for name in ("firing_threshold", "flat_derivative")}
    unchanged = {
        site.name: flags.astype(np.bool_)
        for site, flags in zip(seen.sites, seen.unchanged, strict=False)
        if flags is not None
    }
    return judge(
        seen.sites,
        splits["calibration"],
        splits.get("held_out"),
        criteria.replace(**fixed),
        checkpoint=seen.checkpoint,
        data=seen.data,
        replay=seen.replay,
        not_understood=seen.not_understood,
        notes=seen.notes,
        unchanged=unchanged or None,
    )
