"""The verbs that look at a checkpoint: sites, inspect."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nla import recording
from nla.calibration.options import CalibrationOptions
from nla.checkpoint.work_folder import folder_of, holds_work, remove_work
from nla.errors import Interrupted, LimitError, UsageError, printable
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.site import Survey
from nla.verbs.construction import Construction
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath
from nla.verbs.proofs import Proof
from nla.verbs.recordings import as_criteria, judged

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection
    from nla.weights.results import WeightInspection


def sites(
    model: StrPath,
    *,
    constants: Mapping[str, Constant] | None = None,
    include: Sequence[str] = (),
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
) -> Survey:
    """The sites of a checkpoint, and what was not understood in it; no data, no run.

    Args:
        model: an ONNX file, or a safetensors checkpoint: its folder, a .safetensors file, or an index of shards.
        constants: values of inputs that are not data; a branch that such a value decides is resolved.
        include: 'linear' for weighted outputs without an activation, 'mlp_pre' for pre-activations of MLPs.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.

    Raises:
        ModelError: the file is not a model that nla can read.
        LimitError: the file crashed, stalled or exhausted a library underneath.
    """
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        include=list(include),
        construction=Construction.of(graph, layers, activation).given(),
    )
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
    exclude_bos: bool = False,
    processor: StrPath | None = None,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    batch_size: int | str = "auto",
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    kernel: str = "auto",
    effective_rank: str = "sample",
    histogram: str = "sample",
    pre_activations: bool = False,
    initial: StrPath | None = None,
    certify: bool = False,
    domain: str | None = None,
    box: str | Sequence[str] = (),
    ranges: StrPath | None = None,
    margin: float = 0.0,
    time_budget: float | None = 60.0,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
    verbose: bool = False,
) -> Inspection | WeightInspection:
    """The lifecycle state of every neuron of a checkpoint, with its evidence.

    With neither data nor synthetic samples: what the weights alone tell, a `WeightInspection`, which saw no activation.

    Args:
        model: an ONNX file, or a safetensors checkpoint: its folder, a .safetensors file, or an index of shards.
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
        tokenizer: a tokenizer.json for text; that of the checkpoint's folder by default.
        max_length: tokens of a text at most; by default as the tokenizer or the checkpoint's config.json say.
        exclude_bos: do not count the first token of a sequence where it is the one that begins sequences.
        processor: a folder in Hugging Face layout, whose files say how data is prepared where nothing else does;
            the checkpoint's own by default.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        batch_size: samples of a run, or 'auto'.
        providers: onnxruntime's execution providers.
        threads: workers; the cores of this machine where None.
        kernel: 'numba' (the extra `fast`), 'numpy', or 'auto'.
        effective_rank: 'sample' (of the row sample) or 'exact' (of every counted row).
        histogram: 'sample' or 'exact', likewise.
        pre_activations: observe z at every site, at the price of a second pass.
        initial: the checkpoint before training: a neuron unchanged since then is `born`.
        certify: prove of every dead neuron that it is silent for all inputs of a domain, or find one that wakes it:
            the column `certificate`. See `nla.certify`, also for the next five.
        domain: of the proof; by default the range of each element over the data.
        box: ranges of inputs.
        ranges: a file of ranges.
        margin: by which what the data cover is widened.
        time_budget: seconds that proofs may take.
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
    thresholds, limits = as_criteria(criteria), Limits(memory_limit, time_limit)
    proof = Proof.asked(certify, domain, box, ranges, margin, time_budget)
    construction = Construction.of(graph, layers, activation)
    run = dict[str, Any](limits=limits, in_process=in_process, progress=progress, verbose=verbose)
    if data is None and synthetic is None:
        from nla.verbs.weighing import refuse_without_data, weighed

        refuse_without_data(
            {
                **{"output": output, "labels": labels, "mask": mask, "limit": limit, "shard": shard},
                **{"held_out": held_out or None, "inputs": inputs or None, **dict(image or {})},
                **{"tokenizer": tokenizer, "max_length": max_length, "exclude_bos": exclude_bos or None},
                **{"processor": processor, "initial": initial, "pre_activations": pre_activations or None},
                "certify": certify or None,
                "effective_rank": None if effective_rank == "sample" else effective_rank,
                "histogram": None if histogram == "sample" else histogram,
                "batch_size": None if batch_size == "auto" else batch_size,
            }
        )
        return weighed(
            model,
            constants=constants,
            include=include,
            construction=construction,
            criteria=thresholds,
            **run,
        )
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
        construction=construction.given(),
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
            exclude_bos=exclude_bos,
            processor=processor,
            **dict(image or {}),
        )
    )
    parcel.put_constants(constants)
    prove = None if proof is None else _proving(parcel, thresholds, proof, run)
    return judged(recorded(parcel, output, then=prove, **run), thresholds)


def _proving(
    parcel: Parcel, criteria: Criteria, proof: Proof, run: Mapping[str, Any]
) -> Callable[[recording.Recording], recording.Recording]:
    """What adds certificates of the dead to a recording. Raises UsageError: a domain that the data do not allow."""
    from nla.verbs.certifying import beside, check_domain

    check_domain(parcel, proof, **run)
    return partial(beside, parcel=parcel, criteria=criteria, proof=proof, **run)


def recorded(
    parcel: Parcel,
    output: StrPath | None,
    limits: Limits,
    *,
    in_process: bool = False,
    progress: Progress | None = None,
    verbose: bool = False,
    then: Callable[[recording.Recording], recording.Recording] | None = None,
) -> recording.Recording:
    """What the replay of a parcel leaves, written to `output` where that is given; raises as `inspect` does.

    `then` adds to it before it is written.
    """
    work = _work_folder(output)
    parcel.arguments["work"] = None if work is None else os.fspath(work)
    with _resumable(work):
        plain = parcel.run("nla.replay.tasks:inspect", limits, progress, in_process, verbose)
        seen = recording.from_plain(*plain)
        seen = seen if then is None else then(seen)
        if output is not None:
            recording.write(seen, Path(output))
    return seen


def replayed(
    model: StrPath, data: StrPath | Array | Mapping[str, Array] | None, **options: Any
) -> Inspection:
    """`inspect` with data, or with synthetic samples. Raises UsageError where there are neither."""
    if data is None and options.get("synthetic") is None:
        raise UsageError("nothing to replay: give calibration data, or ask for random numbers with synthetic")
    return cast("Inspection", inspect(model, data, **options))


def _work_folder(output: StrPath | None) -> Path | None:
    """Where a replay with this output keeps its work; None where that is no file."""
    there = None if output is None else Path(output)
    return None if there is None or (there.exists() and not there.is_file()) else folder_of(there)


@contextmanager
def _resumable(folder: Path | None) -> Iterator[None]:
    """An interrupt, or the end of the child, says where the work so far is kept, if it is; done work is removed."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt, LimitError) as error:
        if folder is None or not holds_work(folder):
            raise
        what, kind = (
            (str(error), LimitError) if isinstance(error, LimitError) else ("interrupted", Interrupted)
        )
        kept = f"the work so far is kept in {printable(folder)}: the same command goes on from there"
        raise kind(f"{what.removesuffix('; nothing was written')}; {kept}") from error
    if folder is not None:
        remove_work(folder)
