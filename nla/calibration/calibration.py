"""Calibration data, opened and matched to a model: batches, labels, masks, shards."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column
from nla.calibration.derived import DerivedFeed
from nla.calibration.feeds import ArrayFeed, finite
from nla.calibration.labels import Labels
from nla.calibration.masks import Mask
from nla.calibration.options import CalibrationOptions, check_shard
from nla.calibration.source import Source
from nla.calibration.split import Indices, in_shard, is_held_out
from nla.calibration.tokens import TokenLimits
from nla.errors import DataError, UsageError

_DIGEST_BYTES = 1 << 22


@dataclass
class Opened:
    """What the parts of one calibration share."""

    path: str | None
    source: Source
    feeds: tuple[ArrayFeed, ...]
    derived: tuple[DerivedFeed, ...]
    labels: Labels | None
    labels_from: str | None
    mask: Mask | None
    samples: int
    """After the limit, before shards and held-out samples."""
    options: CalibrationOptions
    account: tuple[str, ...]
    tokens: TokenLimits | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    digest: str | None = None


class Calibration:
    """Samples for a replay: opened data restricted to `indices`. Safe to read from several threads."""

    def __init__(self, opened: Opened, indices: Indices, shard: tuple[int, int] | None = None) -> None:
        self._opened = opened
        self._shard = shard
        self.indices: Indices = indices
        """int64 [samples] global index of each sample: its place in the data."""

    @property
    def samples(self) -> int:
        """Number of samples; 0 only where a shard has nothing held out."""
        return len(self.indices)

    @property
    def batchable(self) -> bool:
        """Whether a run takes several samples; otherwise it takes one, and some input has no batch axis."""
        return all(feed.batched for feed in self._opened.feeds)

    @property
    def data_inputs(self) -> tuple[str, ...]:
        """Inputs that `feeds` fills."""
        return (*(f.name for f in self._opened.feeds), *(d.name for d in self._opened.derived))

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """By fed input, the sizes that every run has: None for the number of samples, and for what varies."""
        return {feed.name: tuple(feed.shape) for feed in self._opened.feeds}

    @property
    def synthetic(self) -> bool:
        """True where the samples are random."""
        return self._opened.source.kind == "synthetic"

    @property
    def account(self) -> tuple[str, ...]:
        """Sentences on what was taken for what, cast, reshaped, derived, or not used."""
        return self._opened.account

    def feeds(self, where: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Every data input for the samples at positions `where`, int64 [b] in 0..samples-1.

        Each [b, …] with the type and shape that the model wants; where not `batchable`, b is 1 and an input
        that counts no samples is given whole. Raises DataError for values that do not fit the model's type.
        """
        if len(where) != 1 and not self.batchable:
            raise ValueError("this model takes one sample a run")
        rows = self.indices[where]
        fed = {feed.name: feed.read(rows) for feed in self._opened.feeds}
        if self._opened.tokens is not None:
            self._opened.tokens.check(fed, rows)
        return fed | {made.name: made.make(fed) for made in self._opened.derived}

    def finite(self, feeds: Mapping[str, NDArray[Any]], samples: int) -> NDArray[np.bool_]:
        """bool [samples]: whether all that `feeds` holds for a sample is finite."""
        return finite(feeds, samples, self.batchable)

    @property
    def labels(self) -> Labels | None:
        """The class of each sample."""
        every = self._opened.labels
        return None if every is None else Labels(every.codes[self.indices], every.names)

    @property
    def masked(self) -> bool:
        """Whether there is a mask."""
        return self._opened.mask is not None

    def mask(self, where: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """bool [b, T] or [b, H, W]: positions that count; None where all do."""
        return None if self._opened.mask is None else self._opened.mask.read(self.indices[where])

    def split(self, held_out: float | None = None) -> tuple[Calibration, Calibration]:
        """(the samples to replay, those held out), by a hash of the global index: every shard agrees.

        `held_out` in [0, 1) is the option of that name by default. Raises DataError where either part of
        the whole would be empty, or nothing but held-out samples is left in this shard.
        """
        share = self._opened.options.held_out if held_out is None else held_out
        if not 0 <= share < 1:
            raise UsageError(f"held-out share {share}: must be at least 0 and below 1")
        everywhere = is_held_out(np.arange(self._opened.samples), share)
        if share and not everywhere.any():
            raise DataError(
                f"of {len(everywhere)} samples, a share of {share} held out comes to none: use more"
            )
        here = everywhere[self.indices]
        if here.all() and len(here):
            raise DataError(f"of {len(here)} samples, a share of {share} held out leaves none: use more")
        parts = (self.indices[~here], self.indices[here])
        return Calibration(self._opened, parts[0], self._shard), Calibration(
            self._opened, parts[1], self._shard
        )

    def subset(self, where: NDArray[np.int64]) -> Calibration:
        """The samples at these positions only, under their global indices."""
        return Calibration(self._opened, self.indices[where])

    def shard(self, k: int, n: int) -> Calibration:
        """The k-th of n shards, k from 1; DataError where no sample falls into it."""
        check_shard((k, n))
        indices = self.indices[in_shard(self.indices, k, n)]
        if not len(indices):
            raise DataError(
                f"shard {k}/{n}: none of the {self.samples} samples falls into it; use fewer shards"
            )
        return Calibration(self._opened, indices, (k, n))

    @property
    def digest(self) -> str:
        """sha256 (hex) of what is fed, the same for every shard and for both parts of a split.

        Over the arrays used (the input's name, type, shape, little-endian bytes) whatever file they come
        from, or over the files where they are decoded (images, text); with labels, mask and scaling. Reads
        the data once.
        """
        with self._opened.lock:
            if self._opened.digest is None:
                self._opened.digest = _digest(self._opened)
            return self._opened.digest

    def describe(self) -> dict[str, Any]:
        """Plain values for a document: where the samples come from and how they were read."""
        opened = self._opened
        options = opened.options
        return {
            "path": opened.path,
            "kind": opened.source.kind,
            "digest": self.digest,
            "samples": self.samples,
            "samples_in_all": opened.samples,
            "limit": options.limit,
            "shard": None if self._shard is None else list(self._shard),
            "held_out": options.held_out,
            "arrays": [_describe_feed(feed) for feed in opened.feeds],
            "derived": [made.name for made in opened.derived],
            "labels": opened.labels and {"from": opened.labels_from, "names": list(opened.labels.names)},
            "mask": None if opened.mask is None else opened.mask.what,
            "synthetic": self.synthetic,
            "seed": options.seed if self.synthetic else None,
            "account": list(opened.account),
        }


def _describe_feed(feed: ArrayFeed) -> dict[str, Any]:
    return {
        "input": feed.name,
        "array": feed.array,
        "dtype": str(feed.source.dtype.newbyteorder("=")),
        "shape": list(feed.source.shape),
    }


def _digest(opened: Opened) -> str:
    sha = hashlib.sha256()
    if opened.source.fingerprint is not None:
        opened.source.fingerprint(sha.update, opened.samples)
    else:
        for feed in sorted(opened.feeds, key=lambda f: f.name):
            _hash_column(sha, f"input {feed.name}", feed.source, None if feed.lone else opened.samples)
    if opened.labels is not None:
        codes = opened.labels.codes[: opened.samples].astype("<i8")
        sha.update(f"\0labels {opened.labels.names}\0".encode("utf-8", "surrogatepass") + codes.tobytes())
    if opened.mask is not None and opened.mask.column.shape[1] is not None:
        _hash_column(sha, "mask", opened.mask.column, opened.samples)
    options = opened.options
    if options.exclude_bos:
        sha.update(b"\0first tokens excluded")
    if options.preprocesses:
        sha.update(f"\0scale {options.scale} mean {options.mean} std {options.std}".encode())
    return sha.hexdigest()


def _hash_column(sha: Any, what: str, column: Column, samples: int | None) -> None:
    """Adds a column's first `samples` rows (None: all), a few megabytes at a time."""
    dtype = column.dtype.newbyteorder("<")
    rows = column.shape[0] or 0 if column.shape else 1
    rows = rows if samples is None else min(samples, rows)
    shape = (rows, *column.shape[1:])
    sha.update(f"\0{what} {dtype.str} {shape}\0".encode("utf-8", "surrogatepass"))
    row_bytes = dtype.itemsize * int(np.prod([s or 1 for s in shape[1:]], dtype=np.int64))
    step = max(1, _DIGEST_BYTES // max(1, row_bytes))
    for first in range(0, rows, step):
        values = column.read(np.arange(first, min(rows, first + step)))
        sha.update(np.ascontiguousarray(values.astype(dtype, copy=False)).tobytes())
