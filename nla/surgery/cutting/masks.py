"""Which channels of a tensor leave, and what stays along each of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gone:
    """The channels of a tensor that leave."""

    axes: tuple[int, ...]
    """Negative and ascending, as those of `Channels`."""
    flags: Flags
    """True for a channel that leaves, in the shape of the axes."""
    groups: NDArray[np.int64]
    """The channel group of every channel, in the same shape."""

    def line(self, axis: int) -> Flags:
        """[length] True where everything at that place of the axis leaves; all False for other axes."""
        at = self.axes.index(axis)
        others = tuple(a for a in range(self.flags.ndim) if a != at)
        return np.asarray(self.flags.all(others))

    def kept(self, axis: int) -> Places | None:
        """Places that stay along the axis; None where all do, or where the channels do not lie on it."""
        if axis not in self.axes:
            return None
        line = self.line(axis)
        return np.flatnonzero(~line) if line.any() else None

    def cuts(self) -> list[tuple[int, Places]]:
        """(axis, places that stay) for every axis that gets shorter."""
        kept = [(axis, self.kept(axis)) for axis in self.axes]
        return [(axis, places) for axis, places in kept if places is not None]

    def length(self, axis: int) -> int:
        """Channels along the axis before the cut."""
        return int(self.flags.shape[self.axes.index(axis)])

    def ragged(self) -> NDArray[np.int64]:
        """Groups of channels that leave without the rest of a slice of the tensor: they cannot."""
        covered = np.zeros(self.flags.shape, np.bool_)
        for at, axis in enumerate(self.axes):
            shape = [-1 if a == at else 1 for a in range(self.flags.ndim)]
            covered |= self.line(axis).reshape(shape)
        return np.unique(self.groups[self.flags & ~covered])

    def fits(self, other: Gone | None) -> bool:
        """True where the same channels of both leave."""
        return other is not None and other.axes == self.axes and np.array_equal(other.flags, self.flags)


def shortened(size: int, places: Sequence[int] | Places | None) -> int:
    """The size of an axis after the cut."""
    return size if places is None else len(places)


def known_flags(gone: Gone | None, length: int) -> Flags:
    """[length] flags of all channels, flat; none leave where `gone` is None."""
    return np.zeros(length, np.bool_) if gone is None else gone.flags.reshape(-1)
