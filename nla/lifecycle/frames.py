"""Inspections as tables of other libraries: pandas, which is the user's own, and Arrow, the extra `arrow`.

Columns have the same types whatever the values, so that the frames of several runs can be put one under another:
counts are integers that may be missing, states are categories in the order of `STATES`, names of sites are
categories in graph order, flags are lists, texts are texts, and everything else is float64.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import MissingExtraError, UsageError, printable
from nla.lifecycle.plain import plain
from nla.lifecycle.results import STATES

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from nla.lifecycle.results import Inspection

_COUNTS = {"index", "samples", "positions", "fired_samples", "held_out_fired", "labels_answered", "nonfinite"}
_TEXTS = {"role", "activation", "decided_by", "certificate"}


@dataclass(frozen=True)
class Typed:
    """One column, ready for either library."""

    kind: str
    """`category`, `count`, `flags`, `text` or `number`."""
    values: NDArray[Any]
    """[rows] category: int32 codes; count: int64, 0 where unknown; flags: tuples of str; text: str; number: float64."""
    known: NDArray[np.bool_]
    """[rows] False where a count, text or number is not known."""
    categories: tuple[str, ...] = ()


def to_pandas(columns: Mapping[str, NDArray[Any]]) -> pandas.DataFrame:
    """The columns as a frame: categoricals, nullable `Int64`, flags as tuples, numbers as float64 with NaN.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("to_pandas()", install="pandas") from None
    makers: dict[str, Callable[[Typed], Any]] = {
        "category": lambda c: pandas.Categorical.from_codes(c.values, categories=list(c.categories)),
        "count": lambda c: pandas.arrays.IntegerArray(c.values, ~c.known),
        "flags": lambda c: pandas.Series(c.values, dtype=object),
        "text": lambda c: pandas.array(
            [value if known else None for value, known in zip(c.values, c.known, strict=True)], dtype="string"
        ),
        "number": lambda c: c.values,
    }
    typed = {name: _typed(name, values) for name, values in columns.items()}
    return pandas.DataFrame({name: makers[column.kind](column) for name, column in typed.items()})


def to_arrow(columns: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> pyarrow.Table:
    """The columns as a table: dictionaries of strings, int64, lists of strings, float64; null for what is not known.

    `about` goes into the metadata of its schema, each entry as `nla.<name>`: a text as it is, the rest as JSON.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("Arrow", "arrow") from None
    makers: dict[str, Callable[[Typed], Any]] = {
        "category": lambda c: pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(c.values, pyarrow.int32()), pyarrow.array(c.categories, pyarrow.string())
        ),
        "count": lambda c: pyarrow.array(c.values, pyarrow.int64(), mask=~c.known),
        "flags": lambda c: pyarrow.array(
            [list(flags) for flags in c.values], pyarrow.list_(pyarrow.string())
        ),
        "text": lambda c: pyarrow.array(c.values.tolist(), pyarrow.string(), mask=~c.known),
        "number": lambda c: pyarrow.array(c.values, pyarrow.float64(), mask=~c.known),
    }
    typed = {name: _typed(name, values) for name, values in columns.items()}
    arrays = [makers[column.kind](column) for column in typed.values()]
    metadata = {f"nla.{name}": _metadata(value) for name, value in about.items()}
    return pyarrow.table(arrays, names=list(typed)).replace_schema_metadata(metadata or None)


def columns_of(inspection: Inspection, per: str) -> Mapping[str, NDArray[Any]]:
    """The columns of the table with a row `per` neuron or site.

    Raises:
        UsageError: there is no such table.
    """
    if per == "site":
        return site_columns(inspection)
    if per != "neuron":
        raise UsageError(f"no table with a row per {printable(per)!r}; there are 'neuron' and 'site'")
    from nla.lifecycle.table import neuron_table

    return neuron_table(inspection).columns


def provenance(inspection: Inspection, per: str = "neuron") -> dict[str, Any]:
    """Where the numbers of a table come from: checkpoint and data with their digests, and the criteria in force."""
    return {
        "schema": f"nla/{per}-table/1",
        "checkpoint": plain(inspection.checkpoint),
        "data": plain(inspection.data),
        "criteria": plain(inspection.criteria.describe()),
    }


def site_columns(inspection: Inspection) -> dict[str, NDArray[Any]]:
    """A row for each site in graph order: what it is, neurons in each state, and the numbers of the layer."""
    sites = inspection.sites
    columns: dict[str, list[Any]] = {
        "site": [r.name for r in sites],
        "role": [r.site.role for r in sites],
        "activation": [r.site.activation.name for r in sites],
        "neurons": [r.site.neurons for r in sites],
        "samples": [r.measurements.samples for r in sites],
        "positions": [r.measurements.positions for r in sites],
        **{state: [r.counts[state] for r in sites] for state in STATES},
        "dead_share": [r.dead_share for r in sites],
        "effective_rank": [r.effective_rank for r in sites],
        "effective_capacity": [r.effective_capacity for r in sites],
        "parameters_dead": [r.parameters_dead for r in sites],
    }
    floats = {"dead_share", "effective_rank", "effective_capacity"}
    texts = {"site", "role", "activation"}
    return {
        name: np.array(values, object if name in texts else np.float64 if name in floats else np.int64)
        for name, values in columns.items()
    }


def _typed(name: str, values: NDArray[Any]) -> Typed:
    everywhere = np.ones(len(values), bool)
    if name == "site":
        names = [encodable(value) for value in values]
        codes = {each: code for code, each in enumerate(dict.fromkeys(names))}
        return Typed("category", np.array([codes[n] for n in names], np.int32), everywhere, tuple(codes))
    if name == "state":
        codes = {state: code for code, state in enumerate(STATES)}
        return Typed("category", np.array([codes[s] for s in values], np.int32), everywhere, STATES)
    if name == "flags":
        return Typed("flags", values, everywhere)
    if name in _TEXTS or values.dtype.kind == "U":
        known = np.array([isinstance(value, str) for value in values], bool)
        texts = [encodable(v) if k else "" for v, k in zip(values, known, strict=True)]
        return Typed("text", np.array(texts, object), known)
    if name in _COUNTS or values.dtype.kind == "i":
        return Typed("count", *_counts(values))
    numbers = values.astype(np.float64)
    return Typed("number", numbers, ~np.isnan(numbers))


def _counts(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Integers, exact however large, and where they are known; what is not known stands as NaN in `values`."""
    if values.dtype.kind == "i":
        return values.astype(np.int64), np.ones(len(values), bool)
    known = ~np.array([isinstance(value, float) and math.isnan(value) for value in values], bool)
    return np.array([int(v) if k else 0 for v, k in zip(values, known, strict=True)], np.int64), known


def encodable(text: str) -> str:
    r"""`text` as it is, but for lone surrogates, which neither library holds: they are escaped.

    >>> encodable("φ\ud800")
    'φ\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _metadata(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False, ensure_ascii=True)
