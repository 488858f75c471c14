"""Living data: at which site, if any, a sample is killed, because every unit of the site is silent.

Rister and Rubin's trainability paper calls a data point dead once some layer is silent for it; the layers
after that get no gradient through to the ones before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Additive, Field, add

Counts = NDArray[np.int64]


class Liveness(Additive[NDArray[np.bool_]]):
    """Per site in graph order: samples that it was silent for, and those that it was the first to kill."""

    name = "liveness"
    samples: int
    silent: Counts
    killed: Counts

    def __init__(self, sites: int) -> None:
        super().__init__(sites=sites)

    @classmethod
    def layout(cls, sites: int) -> dict[str, Field]:
        return {
            "samples": Field("int64"),
            "silent": Field("int64", (sites,)),
            "killed": Field("int64", (sites,)),
        }

    def update(self, seen: NDArray[np.bool_]) -> None:
        """Adds the samples of `seen` [sites, samples]: True where some neuron of the site fired.

        A site whose activation never reaches zero silences nothing and passes True.
        """
        sites = self.config["sites"]
        self.samples += seen.shape[1]
        if sites == 0 or seen.all():
            return
        silent = ~seen
        add(self.silent, np.count_nonzero(silent, axis=1))
        first = silent.argmax(axis=0)[silent.any(axis=0)]
        add(self.killed, np.bincount(first, minlength=sites))
