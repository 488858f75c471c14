"""How many samples make a run, and how many a chunk: from what the first samples showed, never from the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nla.replay import kernels
from nla.replay.feeds import SplitData
from nla.replay.kernels import Kernel
from nla.replay.probe import Probe
from nla.replay.views import Layout

_BATCH_BYTES = 1 << 20
"""A batch's largest tensor, where samples are small: a run keeps a core's second-level cache, and is as fast as any."""
_FEWEST_SAMPLES = 4
"""Images and the like run together although their tensors are larger: a run and its 50 sites cost 3 ms beside the
work, 6 % of an image of ResNet-50, and onnxruntime itself is 5 % faster on four; eight gained nothing more."""
_RUN_BYTES = 160 << 20
"""All tapped tensors of one run, of which every worker holds one: four images of ResNet-50 (37 MB each)."""
_LARGEST_BATCH = 1024
_SAMPLES_A_CHUNK = 16
"""Where every sample is a group: its sums, and the rows drawn from it, wait in memory for the chunk's turn."""
_RUNS_A_CHUNK, _SINGLES_A_CHUNK = 4, 64
"""Where samples are one position, so that the sums of a run are few; and the fewest samples of such a chunk."""
_CHUNKS = 16
"""Chunks to share out between workers, before a chunk is made of several runs."""
_SUMS_BYTES = 64 << 20
"""The sums of one chunk of samples of one position: each run has a group for every label in it."""
_SUMS_A_VALUE = 12
"""Bytes of sums (48 for a neuron of a group) for each byte of float32 activations."""


class Wishes(Protocol):
    """What the user asked for (`passes.Settings`)."""

    @property
    def batch_size(self) -> int | None: ...
    @property
    def kernel(self) -> str: ...


@dataclass(frozen=True)
class Pace:
    """How a pass goes over the samples."""

    batch_size: int
    """Samples of a run."""
    chunk: int
    """Samples between two commits."""
    kernel: Kernel


def settle(layouts: Sequence[Layout], probe: Probe, data: SplitData, wishes: Wishes) -> Pace:
    """The pace of a pass over the tensors of these layouts, of which `probe` tells the sizes.

    It depends on the model and the data's shape only, so that every shard agrees.
    """
    batch_size = _batch_size(probe, wishes.batch_size)
    kernel = kernels.load(wishes.kernel, data.samples * probe.bytes_per_sample // 4)
    return Pace(batch_size, _chunk(layouts, probe, batch_size, data), kernel)


def _batch_size(probe: Probe, wanted: int | None) -> int:
    if not probe.batched:
        return 1
    if wanted is not None:
        return wanted
    fits = max(_BATCH_BYTES // max(probe.largest_site_bytes, 1), _FEWEST_SAMPLES)
    return int(min(fits, max(_RUN_BYTES // max(probe.bytes_per_sample, 1), 1), _LARGEST_BATCH))


def _chunk(layouts: Sequence[Layout], probe: Probe, batch_size: int, data: SplitData) -> int:
    """Enough to spread the cost of a commit, few enough to share out and to hold."""
    if any(layout.per_sample for layout in layouts):
        return batch_size * max(min(_SAMPLES_A_CHUNK, data.samples // _CHUNKS) // batch_size, 1)
    labels = 0 if data.labels is None else len(data.labels.names)
    groups = max(_SUMS_BYTES // max(_SUMS_A_VALUE * probe.bytes_per_sample, 1) - labels, 1)
    runs = min(_RUNS_A_CHUNK, groups, max(data.samples // (batch_size * _CHUNKS), 1))
    return max(batch_size * runs, _SINGLES_A_CHUNK)
