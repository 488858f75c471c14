"""The domain `observed`: what each layer reads over data, and which of its neurons no value in that range wakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.domains import OBSERVED, Seen, Stated
from nla.certificates.layers import layer
from nla.certificates.network import Network, Target
from nla.certificates.proving import Bounds, prove
from nla.certificates.question import Budget
from nla.certifying.confirming import Confirming
from nla.certifying.opened import Opened
from nla.certifying.refuting import Open, Progress, Refuted
from nla.certifying.stating import ASSUMES, Domains, check_given
from nla.errors import DataError

Array = NDArray[Any]


def observed(
    opened: Opened, asked: Open, arguments: Mapping[str, Any], progress: Progress
) -> tuple[Domains, Refuted]:
    """The box of what the layer of each site reads over all samples, and the neurons that samples wake.

    A sample lies in the domain, so that it refutes. No other value of these boxes does: no input may lead to it.

    Raises:
        UsageError: no data, options of another domain, or values that are not finite.
        DataError: a sample of other sizes than those that the proof is for.
    """
    check_given(OBSERVED, arguments, has_data=opened.data is not None)
    assert opened.data is not None
    data, targets = opened.data, [each for each in opened.network.targets if each.site in asked]
    layers = {each.site: _layer(opened.network, each) for each in targets}
    boxes = {
        name: Seen(name, shape) for each in layers.values() for name, shape in sorted(each.inputs.items())
    }
    refuted, left = Refuted(), dict(asked)
    if targets:
        confirm = Confirming(opened, targets, beside=tuple(boxes), verbose=arguments["verbose"])
        for number in range(data.samples):
            progress("observing what layers read", number, data.samples)
            feeds = _one(opened, confirm, number)
            values = confirm.values(feeds)
            for name, seen in boxes.items():
                seen.add(np.asarray(values[name], np.float64).reshape(1, *seen.shape))
            if refuted.take(confirm.seen(values), left, feeds, "data", int(data.indices[number])):
                left = refuted.left(left)
    source = str(data.describe()["path"] or "arrays")
    readers = {name: tuple(site for site, each in layers.items() if name in each.inputs) for name in boxes}
    found: dict[str, Stated] = {
        name: replace(seen.stated(arguments["margin"], OBSERVED, source), sites=readers[name])
        for name, seen in boxes.items()
    }
    sets = {name: each.values for name, each in found.items()}
    return Domains(OBSERVED, ASSUMES[OBSERVED], found, sets, layers), refuted


def bounds_of(
    domain: Domains, asked: Open, methods: list[str], budget: Budget, progress: Progress
) -> dict[str, Bounds]:
    """Bounds of z by site, each over the box of what its own layer reads."""
    bounds: dict[str, Bounds] = {}
    for number, (site, network) in enumerate(domain.layers.items()):
        progress("proving layer by layer", number, len(domain.layers))
        bounds.update(prove(network, domain.sets, {site: asked[site]}, methods, budget))
    return bounds


def _layer(network: Network, target: Target) -> Network:
    found = layer(network, target)
    assert found is not None, f"{target.site} was asked about, and no layer lies before it"
    return found


def _one(opened: Opened, confirm: Confirming, number: int) -> dict[str, Array]:
    """One sample, as the model takes it."""
    assert opened.data is not None
    names = confirm.inputs
    feeds = {name: value for name, value in opened.data.feeds(np.array([number])).items() if name in names}
    for name, value in feeds.items():
        if list(value.shape) != opened.shapes[name]:
            raise DataError(
                f"sample {opened.data.indices[number]} of {name} is of shape {list(value.shape)}, and what layers read "
                f"is observed for one size, {opened.shapes[name]}: give data of one size"
            )
    return feeds
