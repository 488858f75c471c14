"""The neurons of an inspection as one table: a row per neuron, the columns of `nla neurons` in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.lifecycle import frames
from nla.lifecycle.results import FLAGS, STATES, Inspection, SiteResult

if TYPE_CHECKING:
    import pandas
    import pyarrow

IDENTITY = ("site", "index", "state", "flags")
EVIDENCE = (
    "activation_rate",
    "firing_frequency",
    "mean",
    "mean_abs",
    "std",
    "min",
    "max",
    "dormancy_score",
    "contribution_score",
    "samples",
    "positions",
    "fired_samples",
    "rate_upper_bound",
    "margin",
)
WHERE_KNOWN = ("saturated_share", "mutual_information", "p_value", "held_out_fired", "certificate")
"""Columns that stand in the table only where at least one site knows them; others may follow them."""


@dataclass(frozen=True)
class NeuronTable:
    """Rows of neurons; every column has one entry per row."""

    columns: dict[str, NDArray[Any]]
    """By name, in the order of the columns. `site`, `state`: str; `index`: int64; `flags`: tuples of str; the
    evidence: float64, where NaN is 'not known', int64 or str."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Where the numbers come from: schema, checkpoint and data with their digests, criteria; plain values."""

    def __len__(self) -> int:
        return len(self.columns["site"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """One mapping for each neuron, of plain Python values; None where a number is not known."""
        names = list(self.columns)
        for values in zip(*(column.tolist() for column in self.columns.values()), strict=True):
            yield {name: _known_value(value) for name, value in zip(names, values, strict=True)}

    def head(self, rows: int) -> NeuronTable:
        """The first so many rows."""
        return NeuronTable({name: column[:rows] for name, column in self.columns.items()}, self.about)

    def to_pandas(self) -> pandas.DataFrame:
        """As a frame: sites and states are categories, counts nullable integers, flags tuples.

        Raises:
            MissingExtraError: pandas is not installed; nla does not bring it.
        """
        return frames.to_pandas(self.columns)

    def to_arrow(self) -> pyarrow.Table:
        """As an Arrow table; digests and criteria are in the metadata of its schema.

        Raises:
            MissingExtraError: pyarrow, the extra `arrow`, is not installed.
        """
        return frames.to_arrow(self.columns, self.about)

    def _repr_html_(self) -> str:
        """What a notebook shows: the first rows."""
        from nla.lifecycle.notebook import neurons_html

        return neurons_html(self)


def neuron_table(
    inspection: Inspection, site: Sequence[str] = (), state: Sequence[str] = (), flag: Sequence[str] = ()
) -> NeuronTable:
    """The neurons of `inspection`: of the sites, in the states and with one of the flags that are named.

    Raises:
        UsageError: a site, state or flag that does not exist.
    """
    _known("site", site, [result.name for result in inspection.sites])
    _known("state", state, STATES)
    _known("flag", flag, FLAGS)
    results = [result for result in inspection.sites if not site or result.name in site]
    kept = [_kept(result, state, flag) for result in results]
    columns: dict[str, NDArray[Any]] = {
        "site": _joined(
            [np.full(len(k), r.name, object) for r, k in zip(results, kept, strict=True)], object
        ),
        "index": _joined(kept, np.int64),
        "state": _joined([r.states[k].astype(object) for r, k in zip(results, kept, strict=True)], object),
        "flags": _joined([_objects(r.flags)[k] for r, k in zip(results, kept, strict=True)], object),
    }
    for name in _evidence(results):
        columns[name] = _joined([_column(r, name)[k] for r, k in zip(results, kept, strict=True)], None)
    return NeuronTable(columns, frames.provenance(inspection))


def _known_value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.4)
            listed = near or list(known[:5])
            also = f" and {len(known) - 5} more" if not near and len(known) > 5 else ""
            hint = "did you mean" if near else "there are"
            raise UsageError(
                f"no {what} {printable(name)!r}; {hint} {', '.join(map(printable, listed))}{also}"
            )


def _kept(result: SiteResult, state: Sequence[str], flag: Sequence[str]) -> NDArray[np.int64]:
    keep = np.ones(result.site.neurons, bool)
    if state:
        keep &= np.isin(result.states, list(state))
    if flag:
        keep &= np.array([not set(flag).isdisjoint(flags) for flags in result.flags], bool)
    return np.flatnonzero(keep).astype(np.int64)


def _evidence(results: Sequence[SiteResult]) -> list[str]:
    present = dict.fromkeys(name for result in results for name in result.columns)
    optional = [name for name in WHERE_KNOWN if any(_says_something(r, name) for r in results)]
    further = [name for name in present if name not in (*IDENTITY, *EVIDENCE, *WHERE_KNOWN)]
    return [*EVIDENCE, *optional, *further]


def _says_something(result: SiteResult, name: str) -> bool:
    column = result.columns.get(name)
    return column is not None and (column.dtype.kind != "f" or not bool(np.isnan(column).all()))


def _column(result: SiteResult, name: str) -> NDArray[Any]:
    column = result.columns.get(name)
    return np.full(result.site.neurons, np.nan) if column is None else column


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """The parts, one after another. Integers beside NaN (not known at some sites) become objects."""
    if not parts:
        return np.empty(0, dtype or np.float64)
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) > 1:
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts).astype(dtype or parts[0].dtype, copy=False)
