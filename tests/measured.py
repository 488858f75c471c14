"""Measurements by plain NumPy on whole arrays, for tests of the lifecycle: no accumulator takes part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import Inspection, SiteResult
from nla.site import Site
from nla.statistics.measurements import LabelMeasurements, SiteMeasurements

FILES: dict[str, Any] = {
    "checkpoint": {"path": "model.onnx", "digest": "0" * 64},
    "data": {"path": "calib.npz", "digest": "1" * 64},
    "replay": {},
}


def site(name: str = "relu", neurons: int = 3, phi: str = "Relu", **settings: Any) -> Site:
    """A dense site; parameters of φ may be given as `phi_parameters`."""
    parameters = settings.pop("phi_parameters", {})
    given = {"role": "dense", "rank": 2, **settings}
    return Site(name=name, activation=Activation.named(phi, **parameters), neurons=neurons, **given)


def measure(
    a: Any, phi: Activation, z: Any = None, *, labels: Sequence[int] | None = None, **overrides: Any
) -> SiteMeasurements:
    """Measurements of a, [samples, neurons] or [samples, positions, neurons]; z alike, where observed."""
    a = _three(a)
    fine = np.isfinite(a)
    kept = np.where(fine, a, np.nan)
    positive = kept > phi.positive_threshold if z is None else fine & (_three(z) > 0)
    low, high = phi.plateaus(Criteria().flat_derivative)
    unknown = np.full(a.shape[2], np.nan)
    known = {} if z is None else {"pre_max": _three(z).max((0, 1)), "pre_std": _three(z).std((0, 1))}
    kept = np.where(fine, a, 0)
    counted = fine.sum((0, 1))
    several = np.maximum(counted, 1)
    mean = np.where(counted > 0, kept.sum((0, 1)) / several, np.nan)
    spread = np.sqrt((np.where(fine, a - mean, 0) ** 2).sum((0, 1)) / several)
    values: dict[str, Any] = {
        "samples": len(a),
        "positions": a.shape[0] * a.shape[1],
        "counted": counted,
        "nonfinite": (~fine).sum((0, 1)),
        "positive": positive.sum((0, 1)),
        "fired": (np.abs(kept) > Criteria().firing_threshold).sum((0, 1)),
        "fired_samples": positive.any(1).sum(0),
        "mean": mean,
        "mean_abs": np.where(counted > 0, np.abs(kept).sum((0, 1)) / several, np.nan),
        "std": np.where(counted > 0, spread, np.nan),
        "min": np.where(counted > 0, np.where(fine, a, np.inf).min((0, 1)), np.nan),
        "max": np.where(counted > 0, np.where(fine, a, -np.inf).max((0, 1)), np.nan),
        "low": None if low is None else (fine & (a <= low)).sum((0, 1)),
        "high": None if high is None else (fine & (a >= high)).sum((0, 1)),
        "lifetime_sparseness": _sparseness(np.abs(kept).mean(1)),
        "pre_max": unknown,
        "pre_mean": unknown,
        "pre_std": unknown,
        "effective_rank": effective_rank(kept.reshape(-1, a.shape[2])),
        "effective_rank_rows": a.shape[0] * a.shape[1],
        "effective_rank_exact": True,
        "histogram": None,
        "pre_histogram": None,
        "silent_samples": int((~positive.any((1, 2))).sum()),
        "killed_samples": 0,
        "labels": None if labels is None else label_measurements(a, positive, labels),
    }
    return SiteMeasurements(**{**values, **known, **overrides})


def effective_rank(rows: NDArray[np.float64]) -> float:
    """Eq. 6 of rows [R, neurons], uncentred."""
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def label_measurements(a: Any, positive: Any, labels: Sequence[int]) -> LabelMeasurements:
    """The bit `z > 0` of every sample against its label."""
    codes = np.asarray(labels)
    names = range(codes.max() + 1)
    fired = positive.any(1)
    masks = [codes == label for label in names]
    with np.errstate(invalid="ignore"):
        means = np.stack([np.abs(a[mask]).sum((0, 1)) / (mask.sum() * a.shape[1]) for mask in masks])
    return LabelMeasurements(
        labels=tuple(map(str, names)),
        samples_per_label=np.array([mask.sum() for mask in masks]),
        response="z > 0",
        bin_edges=(),
        joint=np.stack([np.stack([(~fired[mask]).sum(0), fired[mask].sum(0)]) for mask in masks]),
        mean_by_label=means,
        fired_by_label=np.stack([fired[mask].sum(0) for mask in masks]),
    )


def judged(
    a: Any, where: Site, z: Any = None, criteria: Criteria | None = None, **settings: Any
) -> SiteResult:
    """The verdict on one site alone."""
    measurements = {where.name: measure(a, where.activation, z, labels=settings.pop("labels", None))}
    held_out = settings.pop("held_out", None)
    second = None if held_out is None else {where.name: measure(held_out, where.activation)}
    result = judge([where], measurements, second, criteria or Criteria(), **FILES, **settings)
    return result[where.name]


def network(*layers: tuple[Site, Any], criteria: Criteria | None = None, **settings: Any) -> Inspection:
    """The inspection of sites with their activations."""
    measurements = {where.name: measure(a, where.activation) for where, a in layers}
    sites = [where for where, _ in layers]
    return judge(sites, measurements, None, criteria or Criteria(), **FILES, **settings)


def _three(values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return array[:, None, :] if array.ndim == 2 else array


def _sparseness(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vinje and Gallant: (1 - (Σr/n)² / (Σr²/n)) / (1 - 1/n)."""
    n = len(means)
    if n < 2:
        return np.full(means.shape[1], np.nan)
    square = (means**2).mean(0)
    share = np.divide(means.mean(0) ** 2, square, out=np.full(means.shape[1], np.nan), where=square > 0)
    return (1 - share) / (1 - 1 / n)
