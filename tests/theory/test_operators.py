"""The norm of a convolution against the matrix that it is, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nla.theory.operators import Convolution, convolution_norm
from nla.theory.spectral import EXACT

CASES = [
    ((3, 2, 3), (9,), (1,), (1,), (1,), (1,), 1),
    ((3, 2, 3, 3), (6, 5), (1, 1), (1, 1), (1, 1), (1, 1), 1),
    ((4, 1, 3, 2), (7, 6), (2, 1), (1, 2), (1, 0), (0, 2), 2),
    ((2, 2, 3, 3), (7, 7), (2, 3), (2, 1), (2, 0), (1, 0), 1),
    ((3, 1, 2, 2, 2), (3, 4, 3), (1, 2, 1), (1, 1, 1), (0, 0, 1), (0, 0, 1), 3),
]


def written_out(convolution):
    """[outputs, inputs] by applying it to every unit vector."""
    shape = (convolution.inputs, *convolution.sizes)
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return np.stack([by_loops(convolution, unit).reshape(-1) for unit in units], axis=1)


def by_loops(convolution, x):
    w, groups = convolution.weight, convolution.groups
    each_out, each_in = w.shape[0] // groups, w.shape[1]
    made = np.zeros((w.shape[0], *convolution.made))
    for at in np.ndindex(made.shape):
        group = at[0] // each_out
        for channel in range(each_in):
            for offset in np.ndindex(w.shape[2:]):
                place = [
                    a * s + o * d - b
                    for a, s, o, d, b in zip(
                        at[1:],
                        convolution.strides,
                        offset,
                        convolution.dilations,
                        convolution.begins,
                        strict=True,
                    )
                ]
                if all(0 <= p < size for p, size in zip(place, convolution.sizes, strict=True)):
                    made[at] += w[(at[0], channel, *offset)] * x[(group * each_in + channel, *place)]
    return made


@pytest.mark.parametrize(("shape", "sizes", "strides", "dilations", "begins", "ends", "groups"), CASES)
def test_it_is_the_largest_singular_value_of_the_whole_map(
    shape, sizes, strides, dilations, begins, ends, groups
):
    weight = np.random.default_rng(sum(shape)).standard_normal(shape)
    convolution = Convolution(weight, sizes, strides, dilations, begins, ends, groups)
    matrix = written_out(convolution)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((convolution.inputs, *sizes))
    y = rng.standard_normal((shape[0], *convolution.made))
    np.testing.assert_allclose(convolution.apply(x).reshape(-1), matrix @ x.reshape(-1), atol=1e-12)
    np.testing.assert_allclose(convolution.apply_back(y).reshape(-1), matrix.T @ y.reshape(-1), atol=1e-12)
    found = convolution_norm(convolution)
    assert found.value == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-7)
    assert found.value <= np.linalg.norm(matrix, 2) * (1 + 1e-12)


def test_it_is_not_the_norm_of_the_reshaped_kernel():
    ones = Convolution(np.ones((1, 1, 3, 3)), (32, 32), (1, 1), (1, 1), (1, 1), (1, 1))
    assert convolution_norm(ones).value == pytest.approx((1 + 2 * math.cos(math.pi / 33)) ** 2, rel=1e-9)
    assert np.linalg.norm(np.ones((1, 9)), 2) == 3


def test_weights_of_any_size_do_not_overflow():
    weight = np.random.default_rng(0).standard_normal((2, 2, 3)) * 1e200
    sized = Convolution(weight, (5,), (1,), (1,), (0,), (0,))
    assert convolution_norm(sized).value == pytest.approx(
        np.linalg.norm(written_out(sized) / 1e200, 2) * 1e200
    )
    nothing = convolution_norm(Convolution(np.zeros((2, 2, 3)), (5,), (1,), (1,), (0,), (0,)))
    assert (nothing.value, nothing.kind) == (0.0, EXACT)
