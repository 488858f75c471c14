"""How the model treats its batch: found by running it, never assumed.

The first samples are run one by one and together. Where every tapped tensor of the joint run equals the single ones,
the model may be fed batches, and the comparison shows which axis of each tensor counts the samples. Otherwise the
model is run one sample at a time, and every position of a run belongs to that sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import ModelError, NlaError
from nla.replay.agreement import agree
from nla.replay.views import Layout, position_shape
from nla.site import Site

Array = NDArray[Any]
Runner = Callable[[NDArray[np.int64]], list[Array]]
"""Runs the model on the samples at these places, and gives the tapped tensors in the order of the sites."""

_TOGETHER = 3
_LARGE_BYTES = 1 << 20
"""Of samples whose tensors are larger, two are run together: the proof must not be what takes most memory."""
_RELATIVE, _ABSOLUTE = 2e-3, 2e-4


@dataclass(frozen=True)
class Probe:
    """What the first samples showed."""

    layouts: tuple[Layout, ...]
    """One for each site."""
    batched: bool
    reason: str
    """Why samples are run one by one; empty where they are not."""
    bytes_per_sample: int
    """Size of the tapped tensors of one sample."""
    largest_site_bytes: int


def probe(
    sites: Sequence[Site],
    samples: int,
    run: Runner,
    *,
    batchable: bool,
    varying: bool,
    together: int | None = None,
) -> Probe:
    """The layout of every site's tensor, and whether samples may be run together.

    `varying` says that an input has a free axis beside the batch, so that the number of positions may change from
    batch to batch. `together` is how many samples are run together, where that is not for the tensors' sizes to say.

    Raises:
        ModelError: a site's tensor does not have the channels that the graph promised.
    """
    singles = [run(np.array([0], np.int64))]
    sizes = [int(np.asarray(value).nbytes) for value in singles[0]]
    count = min(samples, together or (_TOGETHER if sum(sizes) <= _LARGE_BYTES else _TOGETHER - 1))
    singles += [run(np.array([i], np.int64)) for i in range(1, count)]
    axes, reason = _batch_axes(singles, run) if batchable and samples > 1 else (None, _why_single(samples))
    layouts = tuple(
        _layout(site, value, None if axes is None else axes[k], varying)
        for k, (site, value) in enumerate(zip(sites, singles[0], strict=True))
    )
    return Probe(layouts, axes is not None, reason, sum(sizes), max(sizes, default=0))


@dataclass(frozen=True)
class Axis:
    axis: int
    flattened: bool = False
    sample_major: bool = True


def _why_single(samples: int) -> str:
    return "there is one sample" if samples == 1 else "the model's batch size is fixed"


def _batch_axes(singles: list[list[Array]], run: Runner) -> tuple[list[Axis] | None, str]:
    """The sample axis of every tensor; None, and the reason, where batched does not equal one by one."""
    count = len(singles)
    try:
        together = run(np.arange(count, dtype=np.int64))
    except NlaError as error:
        return None, f"the model does not run on {count} samples at once ({str(error)[:200]})"
    axes = []
    for k, joint in enumerate(together):
        axis = batch_axis([single[k] for single in singles], joint)
        if axis is None:
            return None, f"{count} samples together do not give what they give one by one"
        axes.append(axis)
    return axes, ""


def batch_axis(singles: list[Array], joint: Array) -> Axis | None:
    """The axis of `joint` that counts the samples, such that each sample's part equals its own run."""
    count, shape = len(singles), singles[0].shape
    if any(single.shape != shape for single in singles) or joint.ndim != len(shape):
        return None
    for k in range(joint.ndim):
        if joint.shape != (*shape[:k], shape[k] * count, *shape[k + 1 :]):
            continue
        split = (*shape[:k], count, shape[k], *shape[k + 1 :])
        if _equal(joint.reshape(split), singles, k):
            return Axis(k, flattened=shape[k] > 1)
        split = (*shape[:k], shape[k], count, *shape[k + 1 :])
        if shape[k] > 1 and _equal(joint.reshape(split), singles, k + 1):
            return Axis(k, flattened=True, sample_major=False)
    return None


def _equal(joint: Array, singles: list[Array], axis: int) -> bool:
    return all(
        agree(np.take(joint, i, axis=axis), single, _RELATIVE, _ABSOLUTE) for i, single in enumerate(singles)
    )


def _layout(site: Site, value: Array, axis: Axis | None, varying: bool) -> Layout:
    """The layout of a site's tensor, checked against the tensor of the first sample."""
    layout = Layout(
        site.neurons,
        site.channel_axes,
        site.unit_size,
        None if axis is None else axis.axis,
        axis is not None and (axis.flattened or (varying and value.ndim == 2)),
        axis is None or axis.sample_major,
    )
    if value.ndim < max(-axis for axis in site.channel_axes):
        raise ModelError(
            f"{site.name}: its tensor has shape {list(value.shape)}, too few axes for its channels"
        )
    channels = int(np.prod([value.shape[a] for a in site.channel_axes]))
    if channels != layout.channels:
        raise ModelError(f"{site.name}: {layout.channels} channels in the graph, {channels} in its tensor")
    sizes = position_shape(value, layout, 1)
    structural = len(sizes) - (axis is None) > 0
    positions = int(np.prod(sizes))
    per_sample = positions != 1 or (varying and structural)
    return Layout(**{**layout.__dict__, "per_sample": per_sample})
