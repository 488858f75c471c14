"""The weights of one layer, summed up: counts, norms, and how far they are from every initialisation scheme."""

from __future__ import annotations

import math
from collections.abc import Callable

from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted
from nla.theory.initialisation import Fans, likenesses, nearest, power
from nla.theory.spectral import EXACT, SpectralNorm, convolution_overlap, spectral_norm
from nla.weights.matrix import Matrix
from nla.weights.profile import Profile
from nla.weights.results import LayerWeights

_NORMS = frozenset(
    ("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization")
)
_FEWEST = 16
"""Weights below which no scheme is compared: any would fit."""


def summed_up(
    matrix: Matrix, seen: Profile, constants: Constants, on_step: Callable[[], None]
) -> LayerWeights:
    """What `LayerWeights` says of a layer."""
    weighted, lies = matrix.weighted, matrix.lies
    finite = not (seen.nans or seen.infinities)
    norm = _norm(matrix, seen, on_step) if finite else SpectralNorm(math.nan, EXACT)
    fans = Fans(matrix.fan_in, lies.outputs * matrix.kernel, lies.outputs, matrix.fan_in)
    told = power(len(seen.sample))
    enough = finite and len(seen.sample) >= _FEWEST and seen.largest > 0
    like = likenesses(seen.sample, fans, _spread(matrix, seen, norm)) if enough else ()
    operator = norm.times(query.real(weighted.node, "alpha", 1.0)).times(
        math.sqrt(overlap(weighted, matrix)), exact=matrix.kernel == 1
    )
    known = max(1, seen.elements - seen.nans - seen.infinities)
    root, _ = constants.root(weighted.weight)
    return LayerWeights(
        name=query.node_name(weighted.node),
        op_type=query.kind(weighted.node),
        weight=query.name(root),
        shape=tuple(matrix.array.shape),
        dtype=str(matrix.array.dtype),
        inputs=lies.inputs,
        outputs=lies.outputs,
        groups=matrix.groups,
        fan_in=fans.fan_in,
        fan_out=fans.fan_out,
        elements=seen.elements,
        zeros=seen.zeros,
        denormals=seen.denormals,
        nans=seen.nans,
        infinities=seen.infinities,
        mean=seen.total / known,
        std=math.sqrt(seen.squares / known),
        bias=_bias(weighted, constants),
        largest=seen.largest,
        spectral_norm=norm.value,
        spectral_kind=norm.kind,
        operator_norm=operator.value,
        operator_kind=operator.kind,
        likenesses=like,
        nearest=nearest(like, told) if like else (),
        power=told,
    )


def _bias(weighted: Weighted, constants: Constants) -> str:
    """What `LayerWeights.bias` says; where the node has none, an Add that alone reads its output may hold it."""
    value, output = weighted.bias, weighted.node.outputs[0]
    readers = output.consumers()
    if value is None and len(readers) == 1 and query.kind(readers[0]) == "Add":
        value = next((v for v in query.operands(readers[0]) if v is not output and v in constants), None)
        output = readers[0].outputs[0] if value is not None else output
    if value is None:
        return "none"
    array = constants.array(value)
    if array is None:
        return "unknown"
    if array.any():
        return "set"
    return "normalised" if any(query.kind(node) in _NORMS for node in output.consumers()) else "zero"


def _norm(matrix: Matrix, seen: Profile, on_step: Callable[[], None]) -> SpectralNorm:
    """The largest norm among the groups: they read apart, and make apart."""
    if matrix.groups == matrix.sizes[0]:  # each group is one row
        return SpectralNorm(
            math.sqrt(float((seen.out_squares if matrix.outputs_first else seen.in_squares).max())), EXACT
        )
    found = [spectral_norm(matrix.flat(group), on_step) for group in range(matrix.groups)]
    return max(found, key=lambda norm: norm.value)


def _spread(matrix: Matrix, seen: Profile, norm: SpectralNorm) -> float | None:
    """Largest singular value over what equal ones would be; None for grouped layers, and for estimates."""
    smaller = min(matrix.lies.outputs, matrix.fan_in)
    if matrix.groups > 1 or norm.kind != EXACT or (not matrix.outputs_first and matrix.kernel > 1):
        return None
    return max(1.0, norm.value / math.sqrt(seen.squares / smaller))


def overlap(weighted: Weighted, matrix: Matrix) -> int:
    """How many output positions of a convolution read one input position at most; 1 for other layers."""
    if not weighted.spatial:
        return 1
    sizes = [n for axis, n in enumerate(matrix.array.shape) if axis > 1]
    ones = (1,) * len(sizes)
    strides = query.integers(weighted.node, "strides") or ones
    dilations = query.integers(weighted.node, "dilations") or ones
    fits = len(strides) == len(dilations) == len(sizes) and min(*strides, *dilations, 1) >= 1
    return convolution_overlap(sizes, strides if fits else ones, dilations if fits else ones)
