"""The recording: the HDF5 file of accumulator states that a replay leaves. Write, read, merge.

Its layout is fixed: `document` (JSON in UTF-8 bytes: checkpoint, data, settings, sites, configurations), then
arrays under numbered groups, `sites/0007/calibration/firing.positive`. Which arrays there are, and of which
type and shape, follows from the document alone, so a stranger's file is checked against that before anything
of it is read. Names from the model never become HDF5 names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import NlaError, RecordingError, printable
from nla.recording_document import SCHEMA, SPLITS, check_document
from nla.site import ARRAYS, NotUnderstood, Site, checked
from nla.statistics.base import Field
from nla.statistics.liveness import Liveness
from nla.statistics.measurements import SiteMeasurements
from nla.statistics.site import SiteStatistics

_MOST_RANGES = 1 << 40
_OF_NEURONS = {
    "unchanged": "uint8",
    "weights": "uint64",
    "certificate": "uint8",
    "certificate_bound": "float64",
}
"""What is kept of a site's neurons beside its `ARRAYS`, and its type."""
_SUMMED = ("samples", "held_out_samples", "left_out", "seconds")

Array = NDArray[Any]
Plain = tuple[dict[str, Any], dict[str, Array]]


@dataclass(frozen=True)
class SplitStatistics:
    """What one split of the data left: the statistics of every site, and the samples they are of."""

    sites: tuple[SiteStatistics, ...]
    liveness: Liveness
    samples: NDArray[np.int64]
    """[ranges, 2] half-open ranges of sample indices in the whole calibration set, see `ranges`."""

    @property
    def covered(self) -> int:
        """Number of samples."""
        return int((self.samples[:, 1] - self.samples[:, 0]).sum())

    def measure(
        self, label_names: tuple[str, ...] = (), *, ranks: bool = True
    ) -> tuple[SiteMeasurements, ...]:
        """The measurements of every site, in graph order; without `ranks`, see `SiteStatistics.measure`."""
        counts = zip(self.sites, self.liveness.silent, self.liveness.killed, strict=True)
        return tuple(
            site.measure(label_names, silent_samples=int(silent), killed_samples=int(killed), ranks=ranks)
            for site, silent, killed in counts
        )


@dataclass(frozen=True)
class Recording:
    """Everything that a replay leaves; plain values and accumulators only."""

    checkpoint: dict[str, Any]
    """path, format, digest, bytes, parameters, …; recordings merge where the digest agrees."""
    data: dict[str, Any]
    """path, digest, samples, …; recordings merge where the digest agrees."""
    settings: dict[str, Any]
    """What must agree for recordings to merge; `labels` are their names, in the order of the codes."""
    sites: tuple[Site, ...]
    not_understood: tuple[NotUnderstood, ...]
    splits: dict[str, SplitStatistics]
    """By the names of SPLITS; `calibration` is always there."""
    replay: dict[str, Any] = field(default_factory=dict)
    """How the numbers were gathered."""
    notes: tuple[str, ...] = ()
    unchanged: tuple[NDArray[np.uint8] | None, ...] = ()
    """For each site uint8 [neurons], 1 where unchanged from the initial checkpoint; None: not known."""
    weights: tuple[NDArray[np.uint64] | None, ...] = ()
    """For each site uint64 [neurons], a digest of the incoming weights and bias (`nla.graph.digests`); None: not known,
    as in recordings of earlier versions."""
    certificates: dict[str, Any] = field(default_factory=dict)
    """What proofs of silence speak of, see `nla.lifecycle.certified`; empty where none were sought."""
    certificate: tuple[NDArray[np.uint8] | None, ...] = ()
    """For each site uint8 [neurons], the verdict of a proof."""
    certificate_bound: tuple[NDArray[np.float64] | None, ...] = ()
    """For each site float64 [neurons], the upper bound of z that was reached; NaN where there is none."""


def ranges(indices: Array) -> NDArray[np.int64]:
    """int64 [ranges, 2], the distinct sample indices as sorted half-open ranges.

    >>> ranges(np.array([4, 0, 1, 2])).tolist()
    [[0, 3], [4, 5]]
    """
    ordered = np.unique(np.asarray(indices, np.int64))
    if not len(ordered):
        return np.zeros((0, 2), np.int64)
    first = np.flatnonzero(np.append(True, np.diff(ordered) != 1))
    last = np.append(first[1:], len(ordered)) - 1
    return np.stack([ordered[first], ordered[last] + 1], axis=1)


def to_plain(recording: Recording) -> Plain:
    """The recording as values for strict JSON, and arrays by path; `from_plain` undoes it."""
    document = {
        "schema": SCHEMA,
        **{name: getattr(recording, name) for name in ("checkpoint", "data", "settings", "replay")},
        "notes": list(recording.notes),
        "not_understood": [asdict(place) for place in recording.not_understood],
        "sites": [site.to_dict() for site in recording.sites],
        "splits": {name: [s.config for s in split.sites] for name, split in recording.splits.items()},
    }
    if recording.certificates:
        document["certificates"] = recording.certificates
    arrays: dict[str, Array] = {}
    for k, site in enumerate(recording.sites):
        known = {name: getattr(recording, name) for name in _OF_NEURONS}
        beside = {
            **{name: getattr(site, name) for name in ARRAYS},
            **{name: None if not of_sites else of_sites[k] for name, of_sites in known.items()},
        }
        if beside["unchanged"] is not None:
            beside["unchanged"] = beside["unchanged"].astype(np.uint8)
        arrays |= {f"sites/{k:04}/{name}": array for name, array in beside.items() if array is not None}
    document["beside"] = sorted(arrays)
    for name, split in recording.splits.items():
        arrays[f"splits/{name}/ranges"] = split.samples
        arrays |= {f"splits/{name}/liveness.{key}": array for key, array in split.liveness.state().items()}
        for k, statistics in enumerate(split.sites):
            arrays |= {f"sites/{k:04}/{name}/{key}": array for key, array in statistics.state().items()}
    return json.loads(json.dumps(document, allow_nan=False)), arrays


def layout(document: Mapping[str, Any]) -> dict[str, Field]:
    """Type and shape of every array that belongs to a document, by path.

    Raises:
        RecordingError: the document is not a recording's.
    """
    check_document(document)
    fields: dict[str, Field] = {}
    sites = document["sites"]
    beside = {**ARRAYS, **_OF_NEURONS}
    known = {f"sites/{k:04}/{name}": (k, kind) for k in range(len(sites)) for name, kind in beside.items()}
    for path in document["beside"]:
        if path not in known:
            raise RecordingError(f"the document names an array {printable(path)} that no recording has")
        k, kind = known[path]
        fields[path] = Field(kind, (sites[k]["neurons"],))
    for name, configs in document["splits"].items():
        fields[f"splits/{name}/ranges"] = Field("int64", (None, 2), _MOST_RANGES)
        liveness = Liveness.layout(sites=len(sites))
        fields |= {f"splits/{name}/liveness.{key}": spec for key, spec in liveness.items()}
        for k, config in enumerate(configs):
            states = SiteStatistics.layout(config)
            fields |= {f"sites/{k:04}/{name}/{key}": spec for key, spec in states.items()}
    return fields


def from_plain(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> Recording:
    """The inverse of `to_plain`.

    Raises:
        RecordingError: values or arrays that no recording has.
    """
    expected = layout(document)
    if arrays.keys() != expected.keys():
        odd = sorted(arrays.keys() ^ expected.keys())[0]
        raise RecordingError(f"the array {printable(odd)} is {'missing' if odd in expected else 'unknown'}")
    for path, spec in expected.items():
        fault = spec.fault(arrays[path].shape, arrays[path].dtype)
        if fault is not None:
            raise RecordingError(f"the array {printable(path)} is {fault}")
    count = len(document["sites"])
    of_neurons: dict[str, Any] = {
        name: tuple(arrays.get(f"sites/{k:04}/{name}") for k in range(count)) for name in _OF_NEURONS
    }
    try:
        return Recording(
            **{name: document[name] for name in ("checkpoint", "data", "settings", "replay")},
            notes=tuple(document["notes"]),
            not_understood=tuple(checked(NotUnderstood(**place)) for place in document["not_understood"]),
            sites=tuple(
                Site.from_dict(plain, **{name: arrays.get(f"sites/{k:04}/{name}") for name in ARRAYS})
                for k, plain in enumerate(document["sites"])
            ),
            **of_neurons,
            certificates=dict(document.get("certificates", {})),
            splits={name: _split(name, document["splits"][name], arrays) for name in document["splits"]},
        )
    except (NlaError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"not a recording that nla wrote: {printable(error)}") from error


def write(recording: Recording, path: str | Path) -> None:
    """Writes the HDF5 file, whole or not at all; the same recording gives the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    from nla.checkpoint.atomic import atomic_write
    from nla.recording_file import to_bytes  # h5py is imported by those alone who need it

    document, arrays = to_plain(recording)
    names = {f"sites/{k:04}": site.name for k, site in enumerate(recording.sites)}
    atomic_write(Path(path), to_bytes(SCHEMA, document, arrays, names))


def read(path: str | Path) -> Recording:
    """The recording in a file.

    A hostile file can crash HDF5 itself: the verbs of nla call `read_plain` in a supervised child instead.

    Raises:
        RecordingError: no such file, not HDF5, truncated, not a recording, or of a version that is not known.
    """
    return _load(path)[0]


def read_plain(
    arguments: Mapping[str, Any], arrays: Mapping[str, Array], report: Callable[[dict[str, Any]], None]
) -> Plain:
    """The task that reads the file `arguments["path"]` in a child process; raises as `read` does."""
    report({"phase": "reading the recording"})
    return _load(arguments["path"])[1]


def _load(path: str | Path) -> tuple[Recording, Plain]:
    from nla.recording_file import load

    try:
        plain = load(Path(path), SCHEMA, layout)
        return from_plain(*plain), plain
    except NlaError as error:
        raise RecordingError(f"{printable(path)}: {error}") from error


def merge(recordings: Sequence[Recording]) -> Recording:
    """Several shards as one, equal to one pass over all of their samples, whatever their order.

    Raises:
        RecordingError: of different checkpoints, data, settings or sites, or they share samples.
    """
    if not recordings:
        raise RecordingError("nothing to merge: give at least one recording")
    ordered = sorted(recordings, key=_place)
    first = ordered[0]
    for other in ordered[1:]:
        _check_same(first, other)
    return Recording(
        checkpoint=_combined([r.checkpoint for r in ordered], summed=()),
        data=_combined([r.data for r in ordered], _SUMMED),
        settings=first.settings,
        sites=first.sites,
        not_understood=first.not_understood,
        splits={name: _merged_split(first.sites, ordered, name) for name in SPLITS if _have(ordered, name)},
        replay=_combined([r.replay for r in ordered], _SUMMED),
        notes=tuple(dict.fromkeys(note for r in ordered for note in r.notes)),
        unchanged=first.unchanged,
        weights=next((r.weights for r in ordered if any(w is not None for w in r.weights)), ()),
        **_proved(ordered),
    )


def _proved(recordings: Sequence[Recording]) -> dict[str, Any]:
    """The certificates of the first recording that has any: they speak of the checkpoint, not of samples."""
    names = ("certificates", "certificate", "certificate_bound")
    having = next((r for r in recordings if r.certificates), None)
    return {} if having is None else {name: getattr(having, name) for name in names}


def _place(recording: Recording) -> tuple[list[int], ...]:
    """Shards are merged in the order of their samples: rounding must not depend on the arguments' order."""
    splits = [recording.splits[name].samples for name in SPLITS if name in recording.splits]
    return tuple(samples.ravel().tolist() for samples in splits)


def _have(recordings: Sequence[Recording], split: str) -> bool:
    return any(split in r.splits for r in recordings)


def _check_same(first: Recording, other: Recording) -> None:
    for what in ("checkpoint", "data"):
        ours, theirs = (getattr(r, what).get("digest") for r in (first, other))
        if ours != theirs:
            said = f"{printable(ours)} and {printable(theirs)}"
            raise RecordingError(f"recordings of different {what}: their digests are {said}")
    for key in sorted(first.settings.keys() | other.settings.keys()):
        ours, theirs = (r.settings.get(key) for r in (first, other))
        if ours != theirs:
            said = f"{printable(ours)} and {printable(theirs)}"
            raise RecordingError(f"recordings made with different settings: {printable(key)} is {said}")
    if [site.to_dict() for site in first.sites] != [site.to_dict() for site in other.sites]:
        raise RecordingError(
            f"recordings of different sites ({len(first.sites)} and {len(other.sites)}) of one checkpoint; "
            "were they made by different versions of nla, or with different --include?"
        )


def _merged_split(sites: Sequence[Site], recordings: Sequence[Recording], name: str) -> SplitStatistics:
    parts = [r.splits[name] for r in recordings if name in r.splits]
    samples = _union([part.samples for part in parts], name)
    liveness = Liveness(len(sites))
    merged = [part.copy() for part in parts[0].sites]
    for part in parts:
        liveness.merge(part.liveness)
    for part in parts[1:]:
        for site, ours, theirs in zip(sites, merged, part.sites, strict=True):
            try:
                ours.merge(theirs)
            except ValueError as error:
                raise RecordingError(f"site {printable(site.name)}: {printable(error)}") from error
    return SplitStatistics(tuple(merged), liveness, samples)


def _union(parts: Sequence[NDArray[np.int64]], split: str) -> NDArray[np.int64]:
    """All ranges together; adjacent ones become one."""
    every = np.concatenate(parts)
    every = every[np.argsort(every[:, 0], kind="stable")]
    overlap = np.flatnonzero(every[1:, 0] < every[:-1, 1])
    if len(overlap):
        sample = every[overlap[0] + 1, 0]
        raise RecordingError(
            f"sample {sample} of the {split} split is in two recordings and would count twice"
        )
    starts = np.append(True, every[1:, 0] != every[:-1, 1])[: len(every)]
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(every))[: len(first)] - 1
    return np.stack([every[first, 0], every[last, 1]], axis=1)


def _combined(parts: Sequence[Mapping[str, Any]], summed: Sequence[str]) -> dict[str, Any]:
    """One description of several: counts added, equal values kept, lists joined, other values listed."""
    combined: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        values = [part[key] for part in parts if key in part]
        if key in summed and all(isinstance(value, int | float) for value in values):
            combined[key] = sum(values)
        elif all(value == values[0] for value in values):
            combined[key] = values[0]
        else:
            flat = [item for value in values for item in _items(key, value)]
            combined[key] = [item for k, item in enumerate(flat) if item not in flat[:k]]
    return combined


def _items(key: str, value: Any) -> list[Any]:
    """What a value adds to a list of values; a shard (3 of 16) is one, though it is a list itself."""
    whole = not isinstance(value, list) or (key == "shard" and not isinstance(value[0], list))
    return [value] if whole else value


def _split(name: str, configs: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]) -> SplitStatistics:
    samples = arrays[f"splits/{name}/ranges"]
    flat = samples.ravel()
    if (flat < 0).any() or (samples[:, 0] >= samples[:, 1]).any() or (np.diff(flat)[1::2] < 0).any():
        raise ValueError(f"splits/{name}/ranges is not a list of increasing ranges")
    liveness = {key: arrays[f"splits/{name}/liveness.{key}"] for key in Liveness.layout(sites=len(configs))}
    sites = [
        SiteStatistics.from_state(
            {key: arrays[f"sites/{k:04}/{name}/{key}"] for key in SiteStatistics.layout(config)}, config
        )
        for k, config in enumerate(configs)
    ]
    return SplitStatistics(tuple(sites), Liveness.from_state(liveness, sites=len(configs)), samples)
