"""Whether a change of state is more than chance: a neuron that fired on 1 of 10,000 samples and now on 0 is no news.

A p-value for each neuron, of the number that decided its state:

- dead on one side: that it fires as often on both. The other side fired on k of n samples. On the same samples, all k
  discordant pairs point one way, and McNemar's exact test gives 2·2^-k (McNemar 1947); on other samples, Fisher's
  exact test, doubled, gives 2·C(n, k) / C(n + m, k) with m samples on the dead side.
- saturated on one side: that the shares of flat positions are equal, after Agresti and Caffo (2000), in which
  every sample counts once, however many positions it has.
- dormant on one side: that the dormancy scores are equal, by their standard errors over samples, as if the samples
  were others; on the same samples this asks for more than it must.

Changes between other states (constant, specialised, active, born) are decided otherwise, and have no p-value: NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.runs.run import RunSite

Floats = NDArray[np.float64]

_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def p_values(before: RunSite, after: RunSite, same_samples: bool) -> Floats:
    """float64 [neurons] in [0, 1]; NaN where the state is the same, or no test applies.

    Both sites hold rows and as many neurons; `same_samples`: the runs saw the same data.
    """
    if before.rows is None or after.rows is None:
        raise ValueError("rows are needed")
    states = before.rows.states, after.rows.states
    changed = (states[0] != states[1]) & (states[0] != "unknown") & (states[1] != "unknown")
    p = np.full(before.neurons, np.nan)
    for state, test in (("dormant", _dormancy), ("saturated", _saturation)):
        here = changed & ((states[0] == state) | (states[1] == state))
        if here.any():
            p = np.where(here, test(before, after), p)
    died, revived = changed & (states[1] == "dead"), changed & (states[0] == "dead")
    for here, alive, dead in ((died, before, after), (revived, after, before)):
        if here.any():
            p = np.where(here, _silence(alive, dead, same_samples), p)
    return p


def _silence(alive: RunSite, dead: RunSite, same_samples: bool) -> Floats:
    """That the side which is dead fires as often as the other; NaN where the other never had z > 0 either."""
    fired = _column(alive, "fired_samples")
    n, m = float(alive.samples), float(dead.samples)
    with np.errstate(invalid="ignore", over="ignore"):
        if same_samples:
            log_p = (1 - fired) * math.log(2)
        else:
            k = np.clip(fired, 0, n)
            log_p = math.log(2) + _log_choose(n, k) - _log_choose(n + m, k)
        return np.where(fired > 0, np.exp(np.minimum(log_p, 0)), np.nan)


def _log_choose(n: float, k: Floats) -> Floats:
    k = np.where(np.isfinite(k), k, 0)
    return np.asarray(math.lgamma(n + 1) - _log_gamma(k + 1) - _log_gamma(n - k + 1))


def _saturation(before: RunSite, after: RunSite) -> Floats:
    """That the shares of saturated positions are equal: one success and one failure are added to each side."""
    sides = []
    for site in (before, after):
        n = site.samples + 2
        share = (_column(site, "saturated_share") * site.samples + 1) / n
        sides.append((share, share * (1 - share) / n))
    return _normal(sides)


def _dormancy(before: RunSite, after: RunSite) -> Floats:
    """That E|a| over the site's mean is equal, by the standard error of E|a| over samples."""
    sides = []
    for site in (before, after):
        mean, size, std = (_column(site, name) for name in ("mean", "mean_abs", "std"))
        level = float(np.nanmean(size)) if np.isfinite(size).any() else math.nan
        variance = np.maximum(std**2 + mean**2 - size**2, 0)
        scale = level if level > 0 else math.nan
        sides.append((_column(site, "dormancy_score"), variance / max(site.samples, 1) / scale**2))
    return _normal(sides)


def _normal(sides: list[tuple[Floats, Floats]]) -> Floats:
    """Two-sided: of the difference of two values with these variances; 1 where both are the same without any."""
    (one, first), (other, second) = sides
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(one - other) / np.sqrt(first + second)
    p = np.asarray(_erfc(np.where(np.isnan(z), 0, z) / math.sqrt(2)))
    return np.where(np.isnan(one) | np.isnan(other) | np.isnan(first + second), np.nan, p)


def _column(site: RunSite, name: str) -> Floats:
    """The evidence of that name; NaN all along where it is not known."""
    columns: Mapping[str, NDArray[Any]] = {} if site.rows is None else site.rows.columns
    if name not in columns:
        return np.full(site.neurons, np.nan)
    return np.asarray(columns[name], np.float64)
