"""What cuts save: units, parameters, bytes, multiply-adds; as a recording tells, without the model.

Weights between two units that both go are counted once, with the later one. Bytes and multiply-adds are close,
not exact: the recording does not say of which type each weight is, nor what stands between two layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import Inspection, SiteResult
from nla.site import Consumer

Bools = NDArray[np.bool_]

_USUAL_WIDTH = 4
_READS_ALL_POSITIONS_AT_ONCE = ("Gemm", "MatMul")
"""Operators that read a feature map flattened, once for each sample."""


def saved(inspection: Inspection, cut: Mapping[str, Bools]) -> dict[str, dict[str, int]]:
    """By site, what goes with its units `cut` (bool [neurons], by site) when all of them go together.

    `units`, `parameters`, `bytes`, and `multiply_adds` for one sample.
    """
    sites = {result.name: result for result in inspection.sites}
    width = bytes_per_parameter(inspection)
    return {name: _saved(sites[name], sites, cut, width) for name in cut}


def total(parts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The sum over sites."""
    names = ("units", "parameters", "bytes", "multiply_adds")
    return {name: sum(part[name] for part in parts.values()) for name in names}


def share(of: Mapping[str, int], units: int) -> dict[str, Any]:
    """What falls to so many of a site's units that are cut, in proportion; the units of a site are alike."""
    whole = max(of["units"], 1)
    return {name: round(value * units / whole) for name, value in of.items()}


def bytes_per_parameter(inspection: Inspection) -> int:
    """1, 2, 4 or 8: what fits the size of the file; 4 where that is not known."""
    size, parameters = (inspection.checkpoint.get(name) for name in ("bytes", "parameters"))
    if not size or not parameters:
        return _USUAL_WIDTH
    return max(width for width in (1, 2, 4, 8) if width == 1 or size >= 0.9 * width * parameters)


def _saved(
    result: SiteResult, sites: Mapping[str, SiteResult], cut: Mapping[str, Bools], width: int
) -> dict[str, int]:
    mine, site = cut[result.name], result.site
    units = int(mine.sum())
    biases = sum(producer.bias is not None for producer in site.producers)
    parameters = float(units * site.parameters_in)
    products = units * max(site.parameters_in - biases, 0) * _positions(result)
    for consumer in site.consumers:
        reader = sites.get(consumer.site or "")
        read = float((mine * _staying(site.neurons, reader, cut)).sum()) * consumer.parameters_per_neuron
        parameters += read
        products += read * _positions_read(result, consumer, reader)
    return {
        "units": units,
        "parameters": round(parameters),
        "bytes": round(parameters) * width,
        "multiply_adds": round(products),
    }


def _staying(neurons: int, reader: SiteResult | None, cut: Mapping[str, Bools]) -> NDArray[np.float64]:
    """[neurons] share of the units reading each unit that stay; 1 where they are no site."""
    if reader is None or reader.name not in cut:
        return np.ones(neurons)
    stay = ~cut[reader.name]
    groups = reader.site.producers[0].groups if reader.site.producers else 1
    if groups > 1 and neurons % groups == 0 and len(stay) % groups == 0:
        return np.repeat(stay.reshape(groups, -1).mean(1), neurons // groups)
    return np.full(neurons, stay.mean())


def _positions(result: SiteResult) -> float:
    """Counted positions of a sample."""
    m = result.measurements
    return m.positions / max(m.samples, 1)


def _positions_read(result: SiteResult, consumer: Consumer, reader: SiteResult | None) -> float:
    """How often a sample makes the consumer read a unit's weights."""
    if reader is not None:
        return _positions(reader)
    flattened = result.site.role == "conv" and consumer.op_type in _READS_ALL_POSITIONS_AT_ONCE
    return 1.0 if flattened else _positions(result)
