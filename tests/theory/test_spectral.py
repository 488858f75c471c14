"""Spectral norms against NumPy's SVD, and convolution bounds against the whole operator as a matrix."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from nla.theory import spectral
from nla.theory.spectral import convolution_overlap, spectral_norm


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (64, 64), (500, 20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_the_norm_of_a_small_matrix_is_exact(shape, dtype):
    weights = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    found = spectral_norm(weights)
    assert found.kind == "exact"
    assert found.value == pytest.approx(np.linalg.norm(weights.astype(np.float64), 2), rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_matrix_is_estimated_from_below(monkeypatch, order):
    monkeypatch.setattr(spectral, "_SMALL", 10)
    monkeypatch.setattr(spectral, "_BLOCK", 5000)
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((300, 200))
    spiked = noise + 30 * np.outer(rng.standard_normal(300), rng.standard_normal(200)) / np.sqrt(300)
    for weights, tolerance in ((noise, 5e-3), (spiked, 1e-6)):
        found = spectral_norm(np.asarray(weights, np.float32, order=order))
        truth = np.linalg.norm(weights, 2)
        assert found.kind == "estimate"
        assert found.value <= truth * (1 + 1e-6)
        assert found.value == pytest.approx(truth, rel=tolerance)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_numbers_of_any_size_neither_overflow_nor_vanish(monkeypatch, factor):
    weights = np.random.default_rng(2).standard_normal((60, 40))
    truth = np.linalg.norm(weights, 2)
    assert spectral_norm(weights * factor).value == pytest.approx(truth * factor, rel=1e-12)
    monkeypatch.setattr(spectral, "_SMALL", 10)
    single = (weights * np.float32(1e-30 if factor < 1 else 1e30)).astype(np.float32)
    assert spectral_norm(single).value == pytest.approx(np.linalg.norm(single.astype(float), 2), rel=1e-4)


def test_nothing_and_zero_have_no_norm():
    assert spectral_norm(np.zeros((0, 5))).value == 0
    assert spectral_norm(np.zeros((4, 5), np.float32)).value == 0


def test_what_becomes_of_the_kind_of_a_product():
    exact = spectral_norm(np.eye(3))
    assert exact.times(-2.0) == spectral.SpectralNorm(2.0, "exact")
    assert exact.times(2.0, exact=False).kind == "bound"
    assert spectral.SpectralNorm(1.0, "estimate").times(2.0, exact=False).kind == "estimate"


def operator(kernel: np.ndarray, size: int, stride: int, dilation: int, pad: int) -> np.ndarray:
    """The whole convolution of [in, size, size] as a matrix, by the definition."""
    out, into, k, _ = kernel.shape
    made = (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1
    matrix = np.zeros((out, made, made, into, size, size))
    for o, i, y, x, a, b in itertools.product(
        range(out), range(into), range(made), range(made), range(k), range(k)
    ):
        row, column = y * stride - pad + a * dilation, x * stride - pad + b * dilation
        if 0 <= row < size and 0 <= column < size:
            matrix[o, y, x, i, row, column] += kernel[o, i, a, b]
    return matrix.reshape(out * made * made, -1)


@pytest.mark.parametrize(
    ("stride", "dilation", "pad"), [(1, 1, 1), (2, 1, 0), (1, 2, 2), (3, 1, 1), (2, 2, 1), (4, 2, 0)]
)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_bound_of_a_convolution_holds_for_the_whole_operator(stride, dilation, pad, k):
    rng = np.random.default_rng(k)
    for kernel in (rng.standard_normal((2, 2, k, k)), np.ones((2, 2, k, k))):
        truth = np.linalg.norm(operator(kernel, 8, stride, dilation, pad), 2)
        overlap = convolution_overlap([k, k], [stride] * 2, [dilation] * 2)
        assert truth <= np.sqrt(overlap) * np.linalg.norm(kernel.reshape(2, -1), 2) * (1 + 1e-12)


def test_the_bound_is_nearly_attained_by_a_kernel_of_ones():
    truth = np.linalg.norm(operator(np.ones((1, 1, 3, 3)), 16, 1, 1, 1), 2)
    assert truth > 0.9 * np.sqrt(9) * np.linalg.norm(np.ones((1, 9)), 2)
