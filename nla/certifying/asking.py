"""Which neurons of which sites are asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from nla.certifying.opened import Opened
from nla.errors import UsageError, printable
from nla.site import Site


def wanted(
    opened: Opened,
    sites: Sequence[str],
    neurons: Sequence[int],
    recorded: Mapping[str, Sequence[int]] | None,
) -> dict[str, NDArray[np.int64]]:
    """Neurons by site in graph order, ascending; sites of which none is asked for are left out.

    Args:
        opened: the checkpoint.
        sites: names; all where empty.
        neurons: indices in the only site that is named; all where empty.
        recorded: by site, the neurons that a recording found dead; None: every one.

    Raises:
        UsageError: no such site or neuron; a neuron without its site.
    """
    known = {each.name: each for each in opened.sites}
    for name in (*sites, *(recorded or ())):
        if name not in known:
            raise UsageError(_unknown(name, list(known)))
    if neurons and len(sites) != 1:
        raise UsageError("--neuron says which neuron of one site: name the site with --site")
    found = {}
    for name, site in known.items():
        if sites and name not in sites:
            continue
        chosen = _chosen(site, neurons, None if recorded is None else recorded.get(name, ()))
        if len(chosen):
            found[name] = chosen
    return found


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 3, 0.4)
    more = f" and {len(known) - 5:,} more" if not near and len(known) > 5 else ""
    hint = "did you mean" if near else "there are"
    return f"no site {printable(name)!r}; {hint} {', '.join(map(printable, near or known[:5]))}{more}"


def _chosen(site: Site, neurons: Sequence[int], recorded: Sequence[int] | None) -> NDArray[np.int64]:
    beyond = next((k for k in (*neurons, *(recorded or ())) if not 0 <= k < site.neurons), None)
    if beyond is not None:
        raise UsageError(
            f"{printable(site.name)} has no neuron {beyond}; its neurons are 0 to {site.neurons - 1:,}"
        )
    chosen = np.arange(site.neurons) if recorded is None else np.unique(np.asarray(recorded, np.int64))
    return np.intersect1d(chosen, neurons) if neurons else chosen
