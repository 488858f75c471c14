"""Special functions that the evidence needs, vectorised in NumPy; SciPy is an oracle of the tests only.

The incomplete gamma function after Press et al., Numerical Recipes, section 6.2 (modified Lentz).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_TINY = 1e-300
_EPSILON = 1e-15
_MOST_TERMS = 100_000
_MOST_STEPS = 100
_SETTLED = 1e-11
_HUGE = 1e250
"""Where a guess is far too small, terms grow beyond bounds; kept finite, they still say so."""


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


def chi_square_survival(statistic: ArrayLike, degrees: ArrayLike) -> Floats:
    """P(X >= statistic) for chi-square with `degrees` degrees of freedom: float64 in [0, 1].

    1 where `degrees` is 0: nothing varies, nothing can be learnt. Statistics are >= 0.

    >>> float(chi_square_survival(3.841458820694124, 1).round(12))
    0.05
    """
    half, a = np.broadcast_arrays(np.asarray(statistic, np.float64) / 2, np.asarray(degrees, np.float64) / 2)
    survival = np.ones(half.shape)
    upper = (a > 0) & (half > 0)
    survival[upper] = _gamma_upper(a[upper], half[upper])
    return survival


def _gamma_upper(a: Floats, x: Floats) -> Floats:
    """The regularised upper incomplete gamma function Q(a, x), a > 0, x > 0, one-dimensional."""
    result = np.empty_like(x)
    below = x < a + 1
    result[below] = 1 - _gamma_series(a[below], x[below])
    result[~below] = _gamma_fraction(a[~below], x[~below])
    return np.clip(result, 0, 1)


def _gamma_series(a: Floats, x: Floats) -> Floats:
    """P(a, x) by its series, which converges quickly for x < a + 1."""
    term = total = 1 / a
    for n in range(1, _MOST_TERMS):
        term = term * x / (a + n)
        total = total + term
        if np.all(term <= total * _EPSILON):
            break
    return np.asarray(total * np.exp(a * np.log(x) - x - _log_gamma(a)))


def _gamma_fraction(a: Floats, x: Floats) -> Floats:
    """Q(a, x) by its continued fraction, which converges quickly for x >= a + 1."""
    b = x + 1 - a
    c = np.full_like(x, 1 / _TINY)
    d = 1 / b
    h = d
    for n in range(1, _MOST_TERMS):
        numerator = -n * (n - a)
        b = b + 2
        d = 1 / _away_from_zero(numerator * d + b)
        c = _away_from_zero(b + numerator / c)
        h = h * (d * c)
        if np.all(np.abs(d * c - 1) <= _EPSILON):
            break
    return np.asarray(h * np.exp(a * np.log(x) - x - _log_gamma(a)))


def binomial_upper_bound(successes: ArrayLike, trials: ArrayLike, alpha: float) -> Floats:
    """Clopper and Pearson's exact one-sided upper bound on a probability, of confidence 1 - alpha.

    The p with P(X <= successes) = alpha for X binomial of `trials` and p: 1 - alpha^(1/n) for 0 of n.
    0 <= successes <= trials; float64 in (0, 1] of the common shape, to ten digits, 1 where there was no
    trial. Equal pairs are solved once, so one call for many neurons is far cheaper than many calls.

    >>> float(binomial_upper_bound(0, 100, 0.05).round(6))
    0.029513
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    bound = np.asarray(np.where(k == 0, -np.expm1(math.log(alpha) / np.maximum(n, _TINY)), 1.0))
    between = (k > 0) & (k < n)
    pairs, place = np.unique(np.stack([k[between], n[between]]), axis=1, return_inverse=True)
    if pairs.size:
        bound[between] = _solve_binomial(pairs[0], pairs[1], alpha)[place.reshape(-1)]
    return bound


def joint_upper_bound(neurons: int, samples: int, alpha: float) -> float:
    """An upper bound, of confidence 1 - alpha, on the rate of every neuron that fired on 0 of `samples`.

    1 - (alpha / neurons)^(1 / samples): Bonferroni's bound, which asks no independence of the neurons. It
    is taken over all neurons that could have been found silent, not over those that were: they were chosen
    by the same data.

    >>> round(joint_upper_bound(1280, 10_000, 0.05), 6), joint_upper_bound(1280, 0, 0.05)
    (0.001015, 1.0)
    """
    return -math.expm1(math.log(alpha / neurons) / max(samples, _TINY))


def _solve_binomial(k: Floats, n: Floats, alpha: float) -> Floats:
    """Newton's method on ln P(X <= k), concave in p, inside a shrinking bracket; begins at Wilson's bound."""
    choose = _log_gamma(n + 1) - _log_gamma(k + 1) - _log_gamma(n - k + 1)
    z = NormalDist().inv_cdf(1 - alpha)
    rate = k / n
    p = (rate + z * z / (2 * n) + z * np.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)) / (1 + z * z / n)
    low, high = np.zeros_like(p), np.ones_like(p)
    for _ in range(_MOST_STEPS):
        tail = _terms_below(k, n, p)  # P(X <= k) over P(X = k)
        excess = choose + k * np.log(p) + (n - k) * np.log1p(-p) + np.log(tail) - math.log(alpha)
        low, high = np.where(excess >= 0, p, low), np.where(excess <= 0, p, high)
        newton = p + excess * (1 - p) / (n - k) * tail
        following = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
        settled = np.all(np.abs(following - p) <= _SETTLED * p)
        p = following
        if settled:
            break
    return p


def _terms_below(k: Floats, n: Floats, p: Floats) -> Floats:
    """Σ P(X = i) / P(X = k) over i = k, k - 1, …, 0: positive terms, so nothing cancels."""
    odds = (1 - p) / p
    term = total = np.ones_like(p)
    for i in range(int(k.max())):
        term = np.minimum(term * ((k - i).clip(0) / (n - k + i + 1) * odds), _HUGE)
        total = total + term
        if not i % 16 and np.all(term <= total * _EPSILON):
            break
    return total


def _away_from_zero(values: Floats) -> Floats:
    return np.asarray(np.where(np.abs(values) < _TINY, _TINY, values))
