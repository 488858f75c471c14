"""A run from an inspection: what its document says, and the arrays that it holds for each neuron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.document import document
from nla.lifecycle.results import Inspection, SiteResult
from nla.runs.of_document import from_document
from nla.runs.run import Rows, Run

Digests = Mapping[str, NDArray[np.uint64]]


def of(
    inspection: Inspection,
    label: str,
    path: str = "",
    step: int | None = None,
    weights: Digests | None = None,
) -> Run:
    """The inspection as a run, equal to that of its document with a row for each neuron.

    Args:
        inspection: of a checkpoint on data.
        label: what the run is called beside others.
        path: the recording that it was judged from.
        step: the training step or epoch, where it is known.
        weights: by site uint64 [neurons], a digest of each neuron's incoming weights and bias; sites whose weights are
            not known are left out.

    Raises:
        RecordingError: an inspection that contradicts itself.
    """
    run = from_document(document(inspection), label, path, step)
    known = weights or {}
    sites = (
        replace(site, rows=_rows(result), weights=known.get(site.name))
        for site, result in zip(run.sites, inspection.sites, strict=True)
    )
    return replace(run, sites=tuple(sites))


def _rows(result: SiteResult) -> Rows:
    columns = {name: _as_documented(column) for name, column in result.columns.items()}
    return Rows(np.asarray(result.states, np.str_), result.flags, columns)


def _as_documented(column: NDArray[Any]) -> NDArray[Any]:
    """A number that is not finite (a margin where z never varies) is not known."""
    if column.dtype.kind != "f":
        return column
    return np.where(np.isfinite(column), column, np.nan).astype(np.float64, copy=False)
