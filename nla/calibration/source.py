"""What every format's reader is and gives: the interface that a new format implements.

To add a format: write a module beside this one with a class that has `kind`, `recognises` and `open`, and
add an instance of it to `registry.READERS`. Everything else (matching, casts, labels, masks, shards) works
on columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nla.calibration.columns import Column
from nla.calibration.labels import Labels
from nla.calibration.options import CalibrationOptions
from nla.calibration.processor import Processor
from nla.site import Input


@dataclass(frozen=True)
class Request:
    """What a reader may want to know: images are resized to the model's size, text padded to its length."""

    inputs: tuple[Input, ...]
    """The model's inputs that are data (no constants)."""
    options: CalibrationOptions
    processor: Processor | None = None
    """What the checkpoint's folder says of its inputs."""


@dataclass(frozen=True)
class Source:
    """Opened calibration data, before it is matched to a model."""

    kind: str
    arrays: Mapping[str, Column]
    anonymous: bool = False
    """True where the only array has no name of its own (.npy, one array in memory, images)."""
    feeds: Mapping[str, str] = field(default_factory=dict)
    """Model input -> array, where the reader knows (token ids, images)."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Array -> why it is not read; an error only if the model needs it."""
    labels: Labels | None = None
    mask: str | None = None
    """Array that is 1 where a position counts, where the reader made one (text)."""
    account: tuple[str, ...] = ()
    fingerprint: Callable[[Callable[[bytes], None], int], None] | None = None
    """Feeds the hash with the files behind the first so many samples; None: the digest is over the arrays."""


class Reader(Protocol):
    """One format."""

    kind: str

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether this reader is the one for `path`; `head` is b"" for a folder."""

    def open(self, path: Path, request: Request) -> Source:
        """The arrays in `path`; only headers are read. DataError says what is wrong with which array."""
