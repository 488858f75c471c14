"""The verbs that read recordings: load, merge, neurons; and the judgement that makes an inspection of one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nla import recording
from nla.errors import UsageError
from nla.isolation import Limits
from nla.lifecycle.certified import Certified, with_certificates
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.table import NeuronTable, neuron_table
from nla.verbs.parcel import Parcel, StrPath

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection


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
    inspection = judge(
        seen.sites,
        splits["calibration"],
        splits.get("held_out"),
        criteria.replace(**fixed),
        checkpoint={**seen.checkpoint, **_constants(seen.settings)},
        data=seen.data,
        replay=seen.replay,
        not_understood=seen.not_understood,
        notes=seen.notes,
        unchanged=unchanged or None,
    )
    return with_certificates(inspection, _certified(seen))


def _certified(seen: recording.Recording) -> Certified:
    """What the recording holds of proofs."""
    names = [site.name for site in seen.sites]
    verdicts = {name: v for name, v in zip(names, seen.certificate, strict=False) if v is not None}
    bounds = {name: b for name, b in zip(names, seen.certificate_bound, strict=False) if b is not None}
    return Certified(seen.certificates, verdicts, bounds)


def _constants(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that were set and no data, for the graph has these sites with them alone."""
    return {name: settings[name] for name in ("constants", "constant_arrays") if settings.get(name)}
