"""What the supervised child does: open the files, find the sites, replay. It gives back plain values and arrays."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla import __version__, recording
from nla.architectures.opening import open_checkpoint
from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.safetensors_source import looks_like_safetensors
from nla.errors import DataError, ModelError, UsageError, one_line
from nla.graph.digests import weight_digests
from nla.graph.find import find_sites
from nla.graph.prepare import Prepared, prepare
from nla.graph.unchanged import unchanged_neurons
from nla.replay.blame import names_files
from nla.replay.observing import Observe, observing
from nla.replay.passes import Settings, SplitResult
from nla.replay.session import check_providers, load_onnxruntime
from nla.replay.streaming.work import key_of
from nla.site import Site, Survey

Array = NDArray[Any]
Arguments = Mapping[str, Any]
Arrays = Mapping[str, Array]
Report = Callable[[dict[str, Any]], None]

_REPORTS_A_SECOND = 5.0


@names_files
def survey(arguments: Arguments, arrays: Arrays, report: Report) -> tuple[dict[str, Any], dict[str, Array]]:
    """The sites of a checkpoint: `Survey.to_plain`."""
    checkpoint, constants = checkpoint_given(arguments, arrays, report)
    prepared = prepare(checkpoint, constants)
    report({"phase": "looking for sites"})
    return _found(checkpoint, prepared, arguments).to_plain()


@names_files
def inspect(arguments: Arguments, arrays: Arrays, report: Report) -> tuple[dict[str, Any], dict[str, Array]]:
    """A recording of every site over the calibration data: `recording.to_plain`.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used.
    """
    settings = settings_given(arguments)
    checkpoint, constants = checkpoint_given(arguments, arrays, report)
    prepared = prepare(checkpoint, constants)
    report({"phase": "reading the data"})
    options = options_given(arguments, arrays, checkpoint)
    data = open_calibration(data_given(arguments, arrays), prepared.inputs, options)
    report({"phase": "looking for sites"})
    shapes = data.shapes if _has_free_sizes(prepared, data) else {}
    if shapes:  # what the data's sizes decide (a branch, a reshape) is decided now
        prepared = prepare(checkpoint, constants, shapes)
    found = _found(checkpoint, prepared, arguments)
    if not found.sites:
        raise ModelError(f"{one_line(checkpoint.path)}: {_without_sites(prepared, found)}")
    check_providers(arguments["providers"])
    report({"phase": "trying the model in onnxruntime"})
    begin = time.monotonic()
    with observing(
        checkpoint,
        prepared,
        arguments["providers"],
        work=Path(arguments["work"]) if arguments.get("work") else None,
        key=lambda: _key(found, data, arguments),
        verbose=arguments["verbose"],
    ) as observe:
        splits = _replayed(observe, found, data, options.held_out, settings, throttled(report))
    _check_any_left(*splits["calibration"])
    initial = arguments["initial"]
    before = _initial(initial, arguments["construction"]) if initial else None
    unchanged = None if before is None else unchanged_neurons(prepared.model, before, found.sites)
    made = _recording(found, data, splits, settings, arguments, time.monotonic() - begin, unchanged)
    digests = weight_digests(prepared.model, found.sites)
    made = replace(made, weights=tuple(digests.get(site.name) for site in found.sites))
    if shapes:
        made.data["shapes"] = {name: list(shape) for name, shape in shapes.items()}
    return recording.to_plain(made)


def checkpoint_given(
    arguments: Arguments, arrays: Arrays, report: Report
) -> tuple[OnnxCheckpoint, dict[str, Any]]:
    """The checkpoint, opened, and the inputs that are set. Raises ModelError."""
    report({"phase": "reading the model"})
    constants = {**arguments["constants"], **under("constant/", arrays)}
    progress = throttled(report)  # hashing a large file is silent otherwise, and silence is taken for a hang
    return open_checkpoint(
        arguments["model"],
        on_hashed=lambda done, total: progress("model", done, total),
        **arguments["construction"],
    ), constants


def _found(checkpoint: OnnxCheckpoint, prepared: Prepared, arguments: Arguments) -> Survey:
    sites, not_understood = find_sites(prepared.model, frozenset(arguments["include"]))
    return Survey(
        sites=sites,
        not_understood=not_understood,
        inputs=prepared.inputs,
        outputs=prepared.outputs,
        parameters=prepared.parameters,
        checkpoint={**checkpoint.describe(), **arguments["construction"]},
        notes=prepared.notes,
    )


def options_given(arguments: Arguments, arrays: Arrays, checkpoint: OnnxCheckpoint) -> CalibrationOptions:
    """How data is read; the folder of a checkpoint in Hugging Face layout says what nobody else does."""
    options = CalibrationOptions.unpack(arguments["options"], under("option/", arrays))
    if options.processor is None and isinstance(checkpoint, BuiltCheckpoint):
        return replace(options, processor=checkpoint.folder)
    return options


def data_given(arguments: Arguments, arrays: Arrays) -> str | Array | dict[str, Array] | None:
    """A path, the array of the only input, arrays by input, or nothing."""
    if arguments["data"] is not None:
        return str(arguments["data"])
    return arrays["data"] if "data" in arrays else under("data/", arrays) or None


def _without_sites(prepared: Prepared, found: Survey) -> str:
    """Why there is nothing to observe, and what to do."""
    if found.not_understood:
        return "no site was understood in this model; `nla sites` lists why"
    operators = Counter(node.op_type for node in prepared.model.graph if node.op_type != "Constant")
    shown = ", ".join(one_line(name, 40) for name, _ in operators.most_common(5))
    return (
        f"the model has no layer of neurons with an activation (it is made of {shown or 'nothing'}); "
        "`nla inspect --include linear` observes layers without one"
    )


def _has_free_sizes(prepared: Prepared, data: Calibration) -> bool:
    """Whether the data fix a size, beside the batch, that the model's inputs leave free."""
    declared = {i.name: i.shape for i in prepared.inputs}
    return any(
        (shape := declared.get(name)) is None
        or any(
            size is not None and not isinstance(free, int)
            for free, size in zip(shape[1:], sizes[1:], strict=False)
        )
        for name, sizes in data.shapes.items()
    )


def _replayed(
    observe: Observe,
    found: Survey,
    data: Calibration,
    share: float,
    settings: Settings,
    progress: Callable[[str, int, int], None],
) -> dict[str, tuple[Calibration, SplitResult]]:
    """Each split of the data, and what its replay left."""
    kept, held = data.split(share) if share else (data, None)
    result = observe("calibration", found.sites, kept, settings, progress)
    splits = {"calibration": (kept, result)}
    if held is not None and held.samples:
        result = observe("held_out", found.sites, held, settings, progress, observe_pre=False)
        splits["held_out"] = (held, result)
    return splits


def _check_any_left(data: Calibration, result: SplitResult) -> None:
    if result.left_out == data.samples:
        raise DataError(
            f"every sample ({data.samples} of {data.samples}) holds NaN or infinity in an input, and such samples "
            "are left out: nothing is left to count"
        )


def _initial(path: str, construction: Mapping[str, Any]) -> ir.Model:
    said = construction if looks_like_safetensors(path) else {}
    return prepare(open_checkpoint(path, **said), {}).model


def under(prefix: str, arrays: Arrays) -> dict[str, Array]:
    """The arrays whose name begins so, without the beginning."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _key(found: Survey, data: Calibration, arguments: Arguments) -> str:
    """What decides the numbers of a replay: one that was stopped goes on where this is the same."""
    left_out = ("model", "data", "work", "threads", "verbose", "initial")
    return key_of(
        {
            "versions": [__version__, np.__version__, load_onnxruntime().__version__],
            "checkpoint": found.checkpoint["digest"],
            "sites": [site.to_dict() for site in found.sites],
            "data": data.digest,
            "arguments": {name: value for name, value in arguments.items() if name not in left_out},
        }
    )


def settings_given(arguments: Arguments) -> Settings:
    """How it is to be replayed. Raises UsageError."""
    criteria = arguments["criteria"]
    batch = arguments["batch_size"]
    if batch != "auto" and not (isinstance(batch, int) and batch >= 1):
        raise UsageError(f"batch size {one_line(batch)}: expected a whole number from 1 on, or auto")
    return Settings(
        firing_threshold=criteria["firing_threshold"],
        flat_derivative=criteria["flat_derivative"],
        dead_tolerance_abs=criteria["dead_tolerance_abs"],
        kernel=arguments["kernel"],
        workers=workers_of(arguments),
        batch_size=None if batch == "auto" else batch,
        exact_rank=_choice("effective rank", arguments["effective_rank"]) == "exact",
        exact_histogram=_choice("histogram", arguments["histogram"]) == "exact",
        pre_activations=arguments["pre_activations"],
    )


def workers_of(arguments: Arguments) -> int:
    """Worker threads: as many as were asked for, or as this process has cores. Raises UsageError."""
    threads = arguments["threads"]
    if threads is not None and not (isinstance(threads, int) and threads >= 1):
        raise UsageError(f"threads {one_line(threads)}: expected a whole number from 1 on")
    return len(os.sched_getaffinity(0)) if threads is None else threads


def _choice(what: str, value: str) -> str:
    if value not in ("sample", "exact"):
        raise UsageError(f"{what} {one_line(value)}: expected sample or exact")
    return value


def throttled(report: Report) -> Callable[[str, int, int], None]:
    """Progress, a few times a second."""
    last_time, last_phase = 0.0, ""

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal last_time, last_phase
        now = time.monotonic()
        if done == total or phase != last_phase or now - last_time > 1 / _REPORTS_A_SECOND:
            last_time, last_phase = now, phase
            report({"phase": phase, "done": done, "total": total})

    return progress


def _recording(
    found: Survey,
    data: Calibration,
    splits: Mapping[str, tuple[Calibration, SplitResult]],
    settings: Settings,
    arguments: Arguments,
    seconds: float,
    unchanged: Mapping[str, NDArray[np.bool_]] | None,
) -> recording.Recording:
    main = splits["calibration"][1]
    born = [None if unchanged is None else unchanged.get(site.name) for site in found.sites]
    return recording.Recording(
        checkpoint={**found.checkpoint, "parameters": found.parameters},
        data=_data(data, splits),
        settings=agreed(data, settings, arguments),
        sites=found.sites,
        not_understood=found.not_understood,
        splits={
            name: recording.SplitStatistics(
                tuple(result.statistics), result.liveness, recording.ranges(part.indices)
            )
            for name, (part, result) in splits.items()
        },
        replay=_replay(found, settings, main, seconds),
        notes=(*found.notes, *_notes(found, splits)),
        unchanged=tuple(None if flags is None else flags.astype(np.uint8) for flags in born),
    )


def _data(data: Calibration, splits: Mapping[str, tuple[Calibration, SplitResult]]) -> dict[str, Any]:
    held = splits.get("held_out")
    return {
        **data.describe(),
        "samples": splits["calibration"][0].samples,
        "held_out_samples": 0 if held is None else held[0].samples,
        "left_out": sum(result.left_out for _, result in splits.values()),
    }


def agreed(data: Calibration, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    """What must be the same for two recordings to merge."""
    names = () if data.labels is None else data.labels.names
    return {
        "firing_threshold": settings.firing_threshold,
        "flat_derivative": settings.flat_derivative,
        "effective_rank": arguments["effective_rank"],
        "histogram": arguments["histogram"],
        "pre_activations": settings.pre_activations,
        "held_out": arguments["options"]["held_out"],
        "labels": [str(name) for name in names],
        "constants": {name: str(value) for name, value in sorted(arguments["constants"].items())},
        "constant_arrays": arguments["constant_digests"],
        "initial": arguments["initial"],
        "include": sorted(arguments["include"]),
    }


def _replay(found: Survey, settings: Settings, result: SplitResult, seconds: float) -> dict[str, Any]:
    """How the numbers were gathered."""
    return {
        "batch_size": result.batch_size,
        "one_by_one": result.one_by_one,
        "workers": settings.workers,
        "kernel": result.kernel,
        "blocked_sites": result.blocked_sites,
        "pre_activations_of": [found.sites[k].name for k in result.pre_sites],
        "seconds": round(seconds, 3),
    }


def _notes(found: Survey, splits: Mapping[str, tuple[Calibration, SplitResult]]) -> Sequence[str]:
    """What a reader of the numbers must know of this replay."""
    notes = []
    left_out = sum(result.left_out for _, result in splits.values())
    if left_out:
        notes.append(
            f"{left_out} of {sum(part.samples for part, _ in splits.values())} samples hold NaN or infinity "
            "in an input: they were left out of every number"
        )
    unmasked = [found.sites[k] for k in sorted(splits["calibration"][1].unmasked)]
    if unmasked:
        notes.append(f"the mask does not fit {_named(unmasked)}: all their positions were counted")
    unfit = splits["calibration"][1].unmasked_inputs - splits["calibration"][1].unmasked
    if unfit:
        named = _named([found.sites[k] for k in sorted(unfit)])
        notes.append(f"the mask does not fit what feeds {named}: the means of their inputs count padding too")
    unseen = [s for s in found.sites if s.activation.positive_threshold is None and s.pre is None]
    if unseen:
        notes.append(f"z > 0 can neither be seen nor read off a at {_named(unseen)}: their rates count a > 0")
    return notes


def _named(sites: Sequence[Site]) -> str:
    names = ", ".join(one_line(site.name, 60) for site in sites[:3])
    return f"{len(sites)} site{'s' * (len(sites) > 1)} ({names}{', …' if len(sites) > 3 else ''})"
