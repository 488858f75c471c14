"""Digests of neurons' incoming weights, by which recordings tell later which neurons still have the weights they had.

The digest is a universal hash (Carter and Wegman's multilinear one): over the raw bits of a neuron's slice of each
weight and bias, taken as whole numbers x_i, h = Σ k_i x_i + length modulo 2^64, with fixed pseudo-random odd keys k_i
that depend on the place alone. One weight that changes always changes the digest; any other change goes unseen with a
chance of about 2^-32 at most. It is not cryptographic: who knows the keys can make two slices that agree. Bits are
compared, so that 0.0 and -0.0 differ, and a NaN equals itself. Digests are part of a recording: the keys must stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.graph.incoming import Part, parts
from nla.graph.unchanged import weight_of
from nla.site import Site

if TYPE_CHECKING:
    import onnx_ir

Digests = NDArray[np.uint64]

_MOST_BYTES = 1 << 30
_HALF = np.uint64(32)


def weight_digests(model: onnx_ir.Model, sites: Sequence[Site]) -> dict[str, Digests]:
    """uint64 [neurons] by site: a digest of each neuron's incoming weights and bias.

    The sites are those of which `unchanged_neurons` can tell. One weight is held in memory at a time; it takes about a
    millisecond for a million weights. Of models with more than 1 GiB of such weights nothing is digested: they are
    replayed in stages, so that they need not be in memory, and would all have to be read a second time.
    """
    held = parts(model, sites)
    if sum(_size(model, part.name) for each in held.values() for part in each) > _MOST_BYTES:
        return {}
    digests = {site.name: _digest(model, site, held[site.name]) for site in sites if site.name in held}
    return {name: digest for name, digest in digests.items() if digest is not None}


def _size(model: onnx_ir.Model, name: str) -> int:
    """Bytes of an initializer, without reading it; other weights lie in the graph and are small."""
    value = model.graph.initializers.get(name)
    return 0 if value is None or value.const_value is None else int(value.const_value.nbytes)


def _digest(model: onnx_ir.Model, site: Site, held: Sequence[Part]) -> Digests | None:
    """The sum over all parts, whose keys begin at different places; None where a part is not as it must be."""
    total = np.zeros(site.neurons, np.uint64)
    for number, part in enumerate(held):
        values = weight_of(model, part.name)
        if values is None or not _holds(values, part.axis, part.first + site.neurons):
            return None
        total += _hashed(values, part.axis % values.ndim, part.first, site.neurons, 2 * number)
    return total


def _holds(values: NDArray[Any], axis: int, neurons: int) -> bool:
    fits = -values.ndim <= axis < values.ndim and values.shape[axis] >= neurons
    return fits and values.dtype.itemsize in (1, 2, 4, 8) and not values.dtype.hasobject


def _hashed(values: NDArray[Any], axis: int, first: int, neurons: int, stream: int) -> Digests:
    """uint64 [neurons], of one array."""
    if values.shape[axis] != neurons:
        values = values[(slice(None),) * axis + (slice(first, first + neurons),)]
    before, after = math.prod(values.shape[:axis]), math.prod(values.shape[axis + 1 :])
    slices = np.ascontiguousarray(values).reshape(before, neurons, after)
    total = _keys(stream << 40, 1) * np.uint64(before * after) + np.zeros(neurons, np.uint64)
    for half, bits in enumerate(_bits(slices)):
        keys = _keys((stream + half) << 40, before * after).reshape(before, after)
        total += np.einsum("anb,ab->n", bits, keys, dtype=np.uint64, casting="safe")
    return total


def _bits(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The bits as whole numbers of 32 bits at most, which leave half of the product to tell them apart."""
    whole = values.view(f"u{values.dtype.itemsize}")
    if whole.dtype.itemsize < 8:
        yield whole
        return
    yield (whole >> _HALF).astype(np.uint32)
    yield whole.astype(np.uint32)


def _keys(start: int, count: int) -> Digests:
    """uint64 [count], odd: splitmix64 (Steele, Lea and Flood 2014) of start, start + 1, …"""
    with np.errstate(over="ignore"):
        mixed = (np.arange(count, dtype=np.uint64) + np.uint64(start + 1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    odd: Digests = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    return odd
