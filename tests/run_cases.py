"""An inspection with all that a document can hold, by hand, and its document, for tests of runs."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from measured import measure, site

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.document import document
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import Inspection
from nla.site import NotUnderstood, Producer
from nla.statistics.measurements import Histogram

FILES: dict[str, Any] = {
    "checkpoint": {"path": "net.onnx", "format": "onnx", "digest": "0" * 64, "bytes": 99, "parameters": 20},
    "data": {"path": ["a.npz", "b.npz"], "digest": "1" * 64, "samples": 4, "shard": [[1, 2], [2, 2]]},
    "replay": {"seconds": 0.5, "workers": 2, "kernel": ["numpy", "numba"]},
}


def rich(criteria: Criteria | None = None, **settings: Any) -> Inspection:
    """Two sites: `relu` of one dead neuron, one active, one that was NaN once; `clip` of two constant ones."""
    first = site("relu", 3, producers=(Producer("fc", "Gemm", "w"),), bottleneck=True, parameters_in=5)
    second = site("clip", 2, "Clip", phi_parameters={"min": 0, "max": 6}, role="conv", upstream=("relu",))
    a = np.array([[0.0, 1.0, np.nan], [0.0, 3.0, 1.0], [0.0, 2.0, 4.0], [0.0, 2.0, 2.0]])
    z = np.array([[-2.0, 1.0, 0.5], [-2.0, 3.0, 1.0], [-2.0, 2.0, 4.0], [-2.0, 2.0, 2.0]])
    histogram = Histogram(np.array([-np.inf, 0.0, 1.0, np.inf]), np.array([4, 3, 4]), 11, True)
    measurements = {
        "relu": measure(a, first.activation, z, labels=[0, 0, 1, 1], histogram=histogram),
        "clip": measure(np.full((4, 2), 5.0), second.activation, effective_rank=float("nan")),
    }
    held_out = {"relu": measure([[1.0, 1.0, 1.0]], first.activation)}
    odd = (NotUnderstood("/Scan", "Scan", "bodies of loops are left alone"),)
    given = {**FILES, "not_understood": odd, "notes": ["a note"], **settings}
    return judge([first, second], measurements, held_out, criteria or Criteria(), **given)


def written(inspection: Inspection, *, neurons: bool = True) -> dict[str, Any]:
    """Its document, through JSON and back, so that it may be changed."""
    plain: dict[str, Any] = json.loads(json.dumps(document(inspection, neurons=neurons), allow_nan=False))
    return plain


def check_equal(one: Any, other: Any, where: str = "") -> None:
    """The same types and values in every field, NaN equal to NaN."""
    if is_dataclass(one):
        assert type(one) is type(other), where
        for field in fields(one):
            check_equal(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, np.ndarray):
        assert one.dtype.kind == other.dtype.kind, where
        np.testing.assert_array_equal(one, other, err_msg=where)
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            check_equal(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert type(one) is type(other), where
        assert len(one) == len(other), where
        for k, (left, right) in enumerate(zip(one, other, strict=True)):
            check_equal(left, right, f"{where}[{k}]")
    elif isinstance(one, float) and np.isnan(one):
        assert np.isnan(other), where
    else:
        assert type(one) is type(other), where
        assert one == other, where
