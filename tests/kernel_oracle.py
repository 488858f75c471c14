"""What a kernel must find, in plain NumPy and float64: counts and extremes exactly, sums to 1e-6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics.summary import Summary, Thresholds

Array = NDArray[Any]

SIGNED = Thresholds()
RELU = Thresholds(nonnegative=True)
TANH = Thresholds(low=-0.9, high=0.9)
RELU6 = Thresholds(high=6.0, nonnegative=True)
SIGMOID = Thresholds(positive=0.5, low=0.01, high=0.99, nonnegative=True)
THRESHOLDS = (SIGNED, RELU, TANH, RELU6, SIGMOID)


def oracle(groups: list[Array], thresholds: Thresholds) -> dict[str, Array | None]:
    """The fields of a Summary, about zero, of each group's [n, C] values: its docstring read plainly."""
    fields: dict[str, list[Array]] = {}
    for values in groups:
        x = values.astype(np.float64)
        good = np.isfinite(x)
        clean = np.where(good, x, 0.0)
        lines = {
            "positive": good & (clean > thresholds.positive),
            "fired": good & (np.abs(clean) > thresholds.fired),
            "low": good & (clean <= (-np.inf if thresholds.low is None else thresholds.low)),
            "high": good & (clean >= (np.inf if thresholds.high is None else thresholds.high)),
            "nonfinite": ~good,
            "sum": clean,
            "sum_sq": clean * clean,
            "sum_abs": np.abs(clean),
        }
        for name, line in lines.items():
            fields.setdefault(name, []).append(line.sum(axis=0))
        fields.setdefault("min", []).append(np.where(good, x, np.inf).min(axis=0, initial=np.inf))
        fields.setdefault("max", []).append(np.where(good, x, -np.inf).max(axis=0, initial=-np.inf))
    return {name: np.array(rows) for name, rows in fields.items()}


def check(
    got: Summary,
    groups: list[Array],
    thresholds: Thresholds,
    per_sample: bool,
    shifts: Sequence[Array] = (),
) -> None:
    """`got` holds what the oracle finds in the groups' [n, C] values.

    `shifts` are those of the calls that it was joined from: rounding follows them too.
    """
    want = oracle(groups, thresholds)
    shift = np.max(np.abs([got.shift, *shifts]), axis=0)
    assert got.per_sample == per_sample
    assert got.positions.tolist() == [len(values) for values in groups]
    for name in ("positive", "fired"):
        np.testing.assert_array_equal(getattr(got, name), want[name], name)
        assert getattr(got, name).dtype == np.int64
    for name in ("low", "high"):
        if getattr(thresholds, name) is None:
            assert getattr(got, name) is None
        else:
            np.testing.assert_array_equal(getattr(got, name), want[name], name)
    if got.nonfinite is None:
        assert not want["nonfinite"].any()
    else:
        np.testing.assert_array_equal(got.nonfinite, want["nonfinite"])
    np.testing.assert_array_equal(got.min, want["min"])
    np.testing.assert_array_equal(got.max, want["max"])
    assert (got.total_abs is None) == thresholds.nonnegative
    close(got.total + got.counted * got.shift, want["sum"], want["sum_abs"] + got.counted * shift)
    close(got.absolute, want["sum_abs"], want["sum_abs"] + got.counted * shift * (len(shifts) > 0))
    squares = got.total_sq + 2 * got.shift * got.total + got.counted * got.shift**2
    close(squares, want["sum_sq"], want["sum_sq"] + got.counted * shift**2)


def close(got: Array, want: Array, scale: Array) -> None:
    """Equal to 1e-6 of the terms' magnitude."""
    assert got.dtype == np.float64
    assert (np.abs(got - want) <= 1e-6 * scale + 1e-40).all(), np.max(np.abs(got - want) / (scale + 1e-300))


def values(rng: np.random.Generator, shape: tuple[int, ...], thresholds: Thresholds) -> Array:
    """float32 activations with zeros of both signs, denormals, values at the thresholds, and a large one."""
    a = rng.standard_normal(shape).astype(np.float32) * np.float32(rng.choice([0.01, 1.0, 20.0]))
    special = np.array([0.0, -0.0, 1e-45, -1e-40, 1e-3, np.float32(1e-3), 0.5, 0.9, -0.9, 6.0], np.float32)
    spots = rng.random(shape) < 0.2
    a[spots] = rng.choice(special, spots.sum())
    if a.size and rng.random() < 0.5:
        a.reshape(-1)[rng.integers(a.size)] = 3e4
    return np.abs(a) if thresholds.nonnegative else a
