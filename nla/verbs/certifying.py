"""The verb that proves: certify."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from nla import recording
from nla.calibration.options import CalibrationOptions
from nla.certificates.domains import BOX, DATA, FILE, HULL, NON_NEGATIVE
from nla.certificates.methods import METHODS
from nla.certificates.results import Certificates
from nla.checkpoint.atomic import atomic_write
from nla.errors import MissingExtraError, UsageError, one_line
from nla.isolation import Limits
from nla.lifecycle.certified import VERDICTS, Certified
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection
from nla.verbs.construction import Construction
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath
from nla.verbs.recordings import judged, read_recording

DOMAINS = ("any", BOX, DATA, FILE, HULL, NON_NEGATIVE)
USUAL_METHODS = ("interval", "linear", "slopes")


def certify(
    model: StrPath,
    data: StrPath | Array | Mapping[str, Array] | None = None,
    *,
    domain: str | None = None,
    box: str | Sequence[str] = (),
    ranges: StrPath | None = None,
    margin: float = 0.0,
    run: StrPath | None = None,
    site: Sequence[str] = (),
    neuron: Sequence[int] = (),
    method: str | Sequence[str] = USUAL_METHODS,
    time_budget: float | None = 60.0,
    size: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    output: StrPath | None = None,
    witnesses: StrPath | None = None,
    limit: int | None = None,
    constants: Mapping[str, Constant] | None = None,
    inputs: Mapping[str, str] | None = None,
    image: Mapping[str, Any] | None = None,
    tokenizer: StrPath | None = None,
    max_length: int | None = None,
    processor: StrPath | None = None,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
    verbose: bool = False,
) -> Certificates:
    """For each neuron: certified silent for every input of a domain, refuted by an input that wakes it, or undecided.

    Args:
        model: an ONNX file, or a safetensors checkpoint.
        data: what `domain` data and hull are made of; other domains must cover it, and its samples are tried as
            witnesses. As `inspect` takes it.
        domain: 'box', 'data', 'file', 'hull', 'non-negative', or 'any'. By default what the other arguments call for,
            and 'any' where normalisation bounds every site that is asked for.
        box: ranges: '0:1' for every input, 'x=0:1', 'x=0:1,-1:1' by channel; several as a list.
        ranges: a file of ranges, .npz or .json, with lo and hi, or INPUT.lo and INPUT.hi.
        margin: by which data and hull are widened in every element.
        run: a recording of this checkpoint: only the neurons that it found dead.
        site: names of sites; all where empty.
        neuron: indices in the only site that is named.
        method: names of `nla.certificates.methods.METHODS`, from cheap to sharp; as a list, or with commas between.
        time_budget: seconds after which nothing more is tried: what is then open is undecided. None: no end.
        size: by input, its sizes with a batch of one, where the model leaves them free.
        seed: of the search for witnesses.
        output: where the document goes, as JSON: what `plan` takes as certificates.
        witnesses: a .npz where the inputs go that woke neurons.
        limit: use the first so many samples only.
        constants: values of inputs that are not data.
        inputs: array name by model input, where they differ.
        image: how a folder of images is prepared.
        tokenizer: a tokenizer.json for text.
        max_length: tokens of a text at most.
        processor: a folder in Hugging Face layout, whose files say how data is prepared.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take, after which it is stopped and nothing is said.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.
        verbose: let onnxruntime's own messages through.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used; the message says why and what to do.
        MissingExtraError: a method needs SciPy, the extra `exact`.
        LimitError: the file crashed, stalled or exhausted a library underneath.
        OutputError: a file cannot be written.
    """
    methods = _methods(method)
    _check(domain, margin, time_budget)
    dead, of = (None, None) if run is None else dead_neurons(run, in_process)
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        domain=domain,
        box=[box] if isinstance(box, str) else list(box),
        ranges=None if ranges is None else os.fspath(ranges),
        margin=margin,
        neurons=dead,
        of=of,
        site=list(site),
        neuron=[int(k) for k in neuron],
        methods=list(methods),
        time_budget=time_budget,
        sizes={name: [int(each) for each in sizes] for name, sizes in (size or {}).items()},
        seed=seed,
        construction=Construction.of(graph, layers, activation).given(),
    )
    parcel.put_data(data)
    parcel.put_options(
        CalibrationOptions(
            labels="none",
            mask="none",
            limit=limit,
            constants=tuple(constants or ()),
            rename=dict(inputs or {}),
            tokenizer=tokenizer,
            max_length=max_length,
            processor=processor,
            **dict(image or {}),
        )
    )
    parcel.put_constants(constants)
    found = _run(parcel, Limits(memory_limit, time_limit), progress, in_process, verbose)
    if output is not None:
        atomic_write(output, json.dumps(found.to_dict(), allow_nan=False, indent=1).encode() + b"\n")
    if witnesses is not None:
        save_witnesses(found, witnesses)
    return found


def proved(
    parcel: Parcel,
    dead: Mapping[str, Sequence[int]],
    *,
    domain: str | None,
    box: str | Sequence[str],
    ranges: StrPath | None,
    time_budget: float | None,
    limits: Limits,
    in_process: bool,
    progress: Progress | None,
    verbose: bool,
) -> Certificates:
    """As `certify`, of the dead neurons of an inspection, whose parcel holds the model and the data."""
    _check(domain, 0.0, time_budget)
    arguments = parcel.arguments
    mine = Parcel()
    mine.arrays.update(parcel.arrays)
    mine.arguments.update(
        {name: arguments[name] for name in ("model", "data", "options", "constants", "constant_digests")},
        domain=domain,
        box=[box] if isinstance(box, str) else list(box),
        ranges=None if ranges is None else os.fspath(ranges),
        margin=0.0,
        neurons={name: list(units) for name, units in dead.items()},
        of=None,
        site=[],
        neuron=[],
        methods=list(USUAL_METHODS),
        time_budget=time_budget,
        sizes={},
        seed=arguments["options"]["seed"],
        construction=arguments["construction"],
    )
    return _run(mine, limits, progress, in_process, verbose)


def _run(
    parcel: Parcel, limits: Limits, progress: Progress | None, in_process: bool, verbose: bool
) -> Certificates:
    return Certificates.from_plain(
        *parcel.run("nla.certifying.tasks:certify", limits, progress, in_process, verbose)
    )


def dead_neurons(run: StrPath, in_process: bool) -> tuple[dict[str, list[int]], str]:
    """By site, the neurons that a recording found dead, and the digest of its checkpoint. Raises RecordingError."""
    seen = judged(read_recording(run, in_process), Criteria(), ranks=False)
    return dead_of(seen), str(seen.checkpoint["digest"])


def dead_of(seen: Inspection) -> dict[str, list[int]]:
    """By site, the dead neurons; sites without any are left out."""
    dead = {each.name: np.flatnonzero(each.states == "dead").tolist() for each in seen.sites}
    return {name: units for name, units in dead.items() if units}


def save_witnesses(found: Certificates, path: StrPath) -> None:
    """The inputs that woke neurons: a sample each, with the sites and neurons that they refute. Raises OutputError."""
    rows = [
        (each.name, index, row)
        for each in found.sites
        for index, row in zip(each.index.tolist(), each.row.tolist(), strict=True)
        if row >= 0
    ]
    held = io.BytesIO()
    arrays: dict[str, Any] = {
        **found.witnesses,
        "witness.site": np.array([name for name, _, _ in rows], np.str_),
        "witness.neuron": np.array([index for _, index, _ in rows], np.int64),
        "witness.row": np.array([row for _, _, row in rows], np.int64),
    }
    np.savez(held, **arrays)
    atomic_write(path, held.getvalue())


def _methods(given: str | Sequence[str]) -> tuple[str, ...]:
    """The methods, each once, in the order from cheap to sharp. Raises UsageError, MissingExtraError."""
    named = [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]
    for name in named:
        if name not in METHODS:
            raise UsageError(f"no method {one_line(name)!r}; there are {', '.join(METHODS)}")
    if not named:
        raise UsageError(f"no method: name one or more of {', '.join(METHODS)}")
    chosen = tuple(name for name in METHODS if name in named)
    for name in chosen:
        extra = METHODS[name].extra
        if extra is not None and find_spec("scipy") is None:
            raise MissingExtraError(f"the method {name}", extra)
    return chosen


def _check(domain: str | None, margin: float, time_budget: float | None) -> None:
    if domain is not None and domain not in DOMAINS:
        raise UsageError(f"no domain {one_line(domain)!r}; there are {', '.join(DOMAINS)}")
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"margin is {margin:g}, expected a number from 0")
    if time_budget is not None and not time_budget > 0:
        raise UsageError(f"time budget is {time_budget:g}, expected seconds above 0, or None")


def evidence(found: Certificates, neurons: Mapping[str, int]) -> Certified:
    """The verdicts as an inspection bears them; `neurons` are the sizes of its sites."""
    verdicts, bounds = {}, {}
    for site in found.sites:
        if neurons.get(site.name) != site.neurons:
            continue
        codes, upper = np.zeros(site.neurons, np.uint8), np.full(site.neurons, np.nan)
        codes[site.index] = [1 + VERDICTS.index(verdict) for verdict in site.verdict.tolist()]
        upper[site.index] = np.where(np.isfinite(site.bound), site.bound, np.nan)
        verdicts[site.name], bounds[site.name] = codes, upper
    for each in found.undecidable:
        codes = np.zeros(neurons.get(each.name, 0), np.uint8)
        codes[[k for k in each.index if k < len(codes)]] = 1 + VERDICTS.index("undecided")
        verdicts[each.name] = codes
    return Certified(found.about(), verdicts, bounds)


def beside(
    seen: recording.Recording, parcel: Parcel, criteria: Criteria, **options: Any
) -> recording.Recording:
    """The recording with what was proved of its dead neurons; raises as `certify` does."""
    inspection = judged(seen, criteria, ranks=False)
    dead = dead_of(inspection)
    if not dead:
        return seen
    told = evidence(proved(parcel, dead, **options), {site.name: site.neurons for site in seen.sites})
    return replace(
        seen,
        certificates=told.about,
        certificate=tuple(told.verdicts.get(site.name) for site in seen.sites),
        certificate_bound=tuple(told.bounds.get(site.name) for site in seen.sites),
    )
