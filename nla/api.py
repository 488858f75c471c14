"""The verbs: each calls the stages in order, and holds no logic of its own.

What touches a stranger's file beyond cheap checks (onnx, onnxruntime, foreign HDF5) runs in a supervised child
process; `in_process=True` runs it here instead, for debuggers and for callers that trust their files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla import isolation, recording
from nla.calibration.arrays import as_array
from nla.calibration.options import CalibrationOptions
from nla.errors import UsageError, printable
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.table import NeuronTable, neuron_table
from nla.site import Survey

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection

StrPath = str | os.PathLike[str]
Array = NDArray[Any]
Progress = Callable[[dict[str, Any]], None]
Constant = float | int | str | Array


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
    parcel = _Parcel()
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
    parcel = _Parcel()
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
    return _judged(seen, thresholds)


def load(
    run: StrPath,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    *,
    in_process: bool = False,
) -> Inspection:
    """The inspection that a recording holds, judged anew by the criteria.

    Thresholds that were fixed when the replay began (firing_threshold, flat_derivative) are those of the recording.

    Raises:
        RecordingError: the file is not a recording, or not one that this version reads.
    """
    return _judged(_read(run, in_process), as_criteria(criteria))


def merge(runs: Sequence[StrPath], output: StrPath | None = None, *, in_process: bool = False) -> Inspection:
    """The inspection of several shards as one, equal to one pass over all of their samples.

    Raises:
        RecordingError: the recordings are of different models, data or settings, or share samples.
    """
    if not runs:
        raise UsageError("nothing to merge: give at least one recording")
    joined = recording.merge([_read(run, in_process) for run in runs])
    if output is not None:
        recording.write(joined, Path(output))
    return _judged(joined, Criteria())


def neurons(
    run: StrPath,
    *,
    site: Sequence[str] = (),
    state: Sequence[str] = (),
    flag: Sequence[str] = (),
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    in_process: bool = False,
) -> NeuronTable:
    """One row per neuron of a recording: its state, flags and evidence; filtered by site, state and flag.

    Raises:
        RecordingError: the file is not a recording.
        UsageError: no such site, state or flag.
    """
    return neuron_table(load(run, criteria, in_process=in_process), site, state, flag)


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


def _read(run: StrPath, in_process: bool) -> recording.Recording:
    parcel = _Parcel()
    parcel.arguments.update(path=os.fspath(run))
    return recording.from_plain(*parcel.run("nla.recording:read_plain", Limits(), None, in_process))


def _judged(seen: recording.Recording, criteria: Criteria) -> Inspection:
    """The states and findings of a recording; thresholds that its replay fixed are taken from it."""
    names = tuple(seen.settings["labels"])
    splits = {
        name: dict(zip((s.name for s in seen.sites), split.measure(names), strict=True))
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


class _Parcel:
    """What travels to the child: plain values, and arrays beside them."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.arrays: dict[str, Array] = {}

    def put_data(self, data: StrPath | Array | Mapping[str, Array] | None) -> None:
        """Calibration data: a path, the array of the only input, or arrays by input."""
        self.arguments["data"] = None
        if isinstance(data, np.ndarray):
            self.arrays["data"] = as_array("array", data)
        elif isinstance(data, Mapping):
            self.arrays.update({f"data/{name}": as_array(str(name), value) for name, value in data.items()})
        elif data is not None:
            self.arguments["data"] = os.fspath(data)

    def put_options(self, options: CalibrationOptions) -> None:
        """How the data is read."""
        self.arguments["options"], arrays = options.pack()
        self.arrays.update({f"option/{name}": value for name, value in arrays.items()})

    def put_constants(self, constants: Mapping[str, Constant] | None) -> None:
        """Values of inputs that are not data; arrays travel beside the plain ones."""
        plain, digests = {}, {}
        for name, value in (constants or {}).items():
            if isinstance(value, np.ndarray):
                self.arrays[f"constant/{name}"] = value
                digests[name] = sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            else:
                plain[name] = value
        self.arguments.update(constants=plain, constant_digests=digests)

    def run(
        self, task: str, limits: Limits, progress: Progress | None, in_process: bool, verbose: bool = False
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """The task's result, from a supervised child or from this process."""
        self.arguments["verbose"] = verbose
        files = [self.arguments.get(name) for name in ("model", "path", "data")]
        return isolation.run(
            task,
            self.arguments,
            self.arrays,
            limits=limits,
            on_progress=progress,
            in_process=in_process,
            show_output=verbose,
            subject=" with ".join(printable(file) for file in files if file),
        )
