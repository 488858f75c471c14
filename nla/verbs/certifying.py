"""The verb that proves: certify."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nla import recording
from nla.calibration.options import CalibrationOptions
from nla.certificates.methods import METHODS
from nla.certificates.results import Certificates, SiteCertificates
from nla.certificates.thresholds import plateau, silent_below
from nla.checkpoint.atomic import atomic_write, check_output
from nla.errors import MissingExtraError, UsageError, one_line, printable
from nla.isolation import Limits
from nla.lifecycle.certified import VERDICTS, Certified, with_certificates
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection
from nla.site import Site
from nla.verbs.construction import Construction
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath
from nla.verbs.proofs import Proof, check_path, seed_of, sizes_of, texts, whole
from nla.verbs.recordings import judged, read_recording

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
    site: str | Sequence[str] = (),
    neuron: int | Sequence[int] = (),
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
        data: what `domain` data, hull and observed are made of; other domains must cover it, and its samples are tried
            as witnesses. As `inspect` takes it.
        domain: 'box', 'data', 'file', 'hull', 'non-negative', 'observed' (whatever keeps what each layer reads within
            the range of each element over the data), or 'any'. By default what the other arguments call for, and 'any'
            where normalisation bounds every site that is asked for.
        box: ranges: '0:1' for every input, 'x=0:1', 'x=0:1,-1:1' by channel; several as a list.
        ranges: a file of ranges: .npz or .json, with lo and hi, or INPUT.lo and INPUT.hi; a property in .vnnlib.
        margin: by which data, hull and observed are widened in every element.
        run: a recording of this checkpoint: only the neurons that it found dead.
        site: the name of a site, or several; all where empty.
        neuron: an index in the only site that is named, or several.
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
    methods, proof = _methods(method), Proof(domain, box, ranges, margin, time_budget)
    asked: dict[str, Any] = {
        "site": texts("site", site, "the name of a site, or a list of names"),
        "neuron": whole("neuron", neuron),
        "sizes": sizes_of(size or {}),
        "seed": seed_of(seed),
    }
    check_path("run", run)
    for name, path in (("output", output), ("witnesses", witnesses)):
        check_path(name, path)
        if path is not None:
            read = (model, ranges, run, data if isinstance(data, str | os.PathLike) else None)
            check_output(path, sources=[each for each in read if each is not None])
    dead, of = (None, None) if run is None else dead_neurons(run, in_process)
    parcel = Parcel()
    parcel.arguments.update(
        **proof.plain(),
        **asked,
        model=os.fspath(model),
        neurons=dead,
        of=of,
        methods=list(methods),
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
    proof: Proof,
    *,
    limits: Limits,
    in_process: bool,
    progress: Progress | None,
    verbose: bool,
) -> Certificates:
    """As `certify`, of the dead neurons of an inspection, whose parcel holds the model and the data."""
    arguments = parcel.arguments
    mine = Parcel()
    mine.arrays.update(parcel.arrays)
    mine.arguments.update(
        {name: arguments[name] for name in ("model", "data", "options", "constants", "constant_digests")},
        **proof.plain(),
        neurons={name: list(units) for name, units in dead.items()},
        of=None,
        site=[],
        neuron=[],
        methods=list(USUAL_METHODS),
        sizes={},
        seed=arguments["options"]["seed"],
        construction=arguments["construction"],
    )
    return _run(mine, limits, progress, in_process, verbose)


def check_domain(parcel: Parcel, proof: Proof, **options: Any) -> None:
    """Find out before a replay, not after it, that ranges are none, or leave out data. Raises as `certify` does."""
    if proof.box or proof.ranges is not None:
        proved(parcel, {}, proof, **options)


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
    listed = texts("method", given, f"names of {', '.join(METHODS)}")
    named = [name.strip() for text in listed for name in text.split(",")]
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
    seen: recording.Recording, parcel: Parcel, criteria: Criteria, proof: Proof, **options: Any
) -> recording.Recording:
    """The recording with what was proved of its dead neurons; raises as `certify` does."""
    dead = dead_of(judged(seen, criteria, ranks=False))
    told = evidence(proved(parcel, dead, proof, **options), {site.name: site.neurons for site in seen.sites})
    return replace(
        seen,
        certificates=told.about,
        certificate=tuple(told.verdicts.get(site.name) for site in seen.sites),
        certificate_bound=tuple(told.bounds.get(site.name) for site in seen.sites),
    )


def read_certificates(path: StrPath) -> Certificates:
    """The certificates in a file that `certify` wrote. Raises UsageError: they are none, or contradict themselves."""
    from nla.certificates.reading import read

    check_path("certificates", path)
    return read(Path(path))


def with_given(inspection: Inspection, found: Certificates, path: StrPath) -> Inspection:
    """The inspection with the certificates of a file, in place of its own.

    Raises:
        UsageError: they are of another checkpoint, of other constants, or of sites that are not of this one.
    """
    checkpoint = inspection.checkpoint
    if found.digest != checkpoint["digest"]:
        raise UsageError(
            f"{printable(path)}: these are of another checkpoint, whose digest is {found.digest[:16]}; the one that "
            f"was inspected has {printable(checkpoint['digest'], 16)}: certify that one"
        )
    constants = {**checkpoint.get("constants", {}), **checkpoint.get("constant_arrays", {})}
    if found.constants != constants:
        raise UsageError(
            f"{printable(path)}: certificates with other constants (--set) than the inspection's"
        )
    sites = {each.name: each.site for each in inspection.sites}
    for each in found.sites:
        if each.name in sites and not _is_of(each, sites[each.name]):
            raise UsageError(
                f"{printable(path)}: {printable(each.name)} has another width, activation or threshold there than in "
                "the inspection: these are no certificates of this checkpoint"
            )
    return with_certificates(
        inspection, evidence(found, {name: each.neurons for name, each in sites.items()})
    )


def _is_of(proved: SiteCertificates, site: Site) -> bool:
    """Whether verdicts can be of this site: z is held against the threshold at which its activation is silent."""
    known = (site.neurons, site.activation.name, silent_below(site.activation), plateau(site.activation))
    return known == (proved.neurons, proved.activation, proved.threshold, proved.plateau)
