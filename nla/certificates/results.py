"""What was proved of the neurons of a checkpoint: verdicts with bounds, and inputs that refute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.domains import OBSERVED
from nla.certificates.rounding import BRAIN, HALF, SINGLE, Floats

SCHEMA = "nla/certificate/1"
ARITHMETICS = {SINGLE: "float32", HALF: "float16", BRAIN: "bfloat16"}
"""By unit roundoff."""
CERTIFIED, REFUTED, UNDECIDED = VERDICTS = ("certified", "refuted", "undecided")
_SHOWN_VALUES = 16
"""Witnesses of at most so many values stand in the document."""

Ints = NDArray[np.int64]
Plain = tuple[dict[str, Any], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Witness:
    """An input that wakes a neuron, as onnxruntime confirmed it."""

    found: str
    """'data', 'random' or 'ascent'."""
    z: float
    """The largest pre-activation of the neuron there, over its positions."""
    a: float
    """The activation at that place."""
    sample: int | None
    """Its number in the data, where it is one of them."""
    row: int | None
    """Its row in `Certificates.witnesses`; None where it was not kept."""


@dataclass(frozen=True)
class SiteCertificates:
    """The verdicts on the neurons of one site that were asked about; every array [asked]."""

    name: str
    activation: str
    neurons: int
    """Of the whole site."""
    threshold: float
    """A neuron is silent where z ≤ threshold."""
    plateau: float
    """What |a| is at most where z ≤ threshold: 0 for ReLU, the tolerance where φ only comes near zero."""
    index: Ints
    """Indices of the neurons, ascending."""
    verdict: NDArray[np.str_]
    """One of VERDICTS."""
    bound: Floats
    """Upper bound of z over the domain and all positions; infinite where none was reached or asked for."""
    method: NDArray[np.str_]
    """Whose bound it is; '' where there is none."""
    found: NDArray[np.str_]
    """How the witness was found; '' without one."""
    z: Floats
    """Of the witness; NaN without one."""
    a: Floats
    sample: Ints
    """-1: none of the data."""
    row: Ints
    """-1: not kept."""
    reason: NDArray[np.str_]
    """Why undecided; '' elsewhere."""
    radius: Floats
    """Of a certified neuron of the first layer, over a hull: silent wherever every element is moved by at most so much
    away from the hull of the data (L∞); NaN where it is not known."""
    assumes: tuple[str, ...] = ()
    """What the bounds take for granted beside the domain, sentences."""
    every_size: bool = False
    """Whether they hold for inputs of every size, not of `Certificates.shapes` only."""

    def witness(self, k: int) -> Witness | None:
        """The witness against the k-th neuron that was asked about."""
        if not self.found[k]:
            return None
        sample, row = int(self.sample[k]), int(self.row[k])
        return Witness(
            str(self.found[k]),
            float(self.z[k]),
            float(self.a[k]),
            None if sample < 0 else sample,
            None if row < 0 else row,
        )

    def count(self, verdict: str) -> int:
        """How many of the neurons have this verdict."""
        return int((self.verdict == verdict).sum())

    def inequality(self, k: int) -> str:
        """What decided on the k-th neuron, or did not, in one line."""
        bar = f"{self.threshold:g}"
        if self.verdict[k] == REFUTED:
            return f"z = {self.z[k]:.6g} > {bar} at a witness"
        if self.verdict[k] == CERTIFIED:
            silent = f"a = {0 if not self.plateau else f'0 ± {self.plateau:g}'}"
            return f"z ≤ {rounded_up(self.bound[k])} ≤ {bar} over the domain: {silent}"
        if not np.isfinite(self.bound[k]):
            return "z is not bounded"
        return f"z ≤ {rounded_up(self.bound[k])}, which is above {bar}"


@dataclass(frozen=True)
class Undecidable:
    """A site of which nothing can be proved, and why."""

    name: str
    neurons: int
    """Of the whole site."""
    index: tuple[int, ...]
    """Those that were asked about."""
    reason: str


@dataclass(frozen=True)
class Certificates:
    """The result of `nla.certify`: it speaks of the weights that `checkpoint` names by digest, and of one domain."""

    checkpoint: dict[str, Any]
    """path, format, digest, …"""
    domain: dict[str, Any]
    """kind, what it assumes in words, and by input its ranges or digest."""
    methods: tuple[str, ...]
    unit: float
    """Unit roundoff of the model's arithmetic, for which slack was left."""
    sites: tuple[SiteCertificates, ...]
    undecidable: tuple[Undecidable, ...] = ()
    shapes: dict[str, list[int]] = field(default_factory=dict)
    """By input, the shape of one sample, batch of one, for which the graph was read."""
    free_sizes: tuple[str, ...] = ()
    """Inputs with a size that the model leaves free, and that was given: other sizes are not spoken of."""
    constants: dict[str, str] = field(default_factory=dict)
    """Inputs that were set."""
    seconds: float = 0.0
    budget: float | None = None
    """Seconds that the work was allowed to take."""
    notes: tuple[str, ...] = ()
    witnesses: dict[str, NDArray[Any]] = field(default_factory=dict)
    """By input, [kept, *shape]: inputs that woke neurons; `SiteCertificates.row` says which."""

    def __getitem__(self, name: str) -> SiteCertificates:
        """The site of that name.

        Raises:
            KeyError: nothing was asked of such a site, or nothing can be proved of it.
        """
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    @property
    def digest(self) -> str:
        """sha256 of the checkpoint that the verdicts hold for."""
        return str(self.checkpoint["digest"])

    @property
    def summary(self) -> dict[str, int]:
        """Neurons that were asked about, by verdict; those of undecidable sites are undecided."""
        counts = {verdict: sum(site.count(verdict) for site in self.sites) for verdict in VERDICTS}
        counts[UNDECIDED] += sum(len(site.index) for site in self.undecidable)
        return {"neurons": sum(counts.values()), **counts}

    @property
    def arithmetic(self) -> str:
        """The arithmetic for which the bounds leave room."""
        return ARITHMETICS.get(self.unit, "float32")

    @property
    def words(self) -> str:
        """The domain in words."""
        if self.domain["kind"] == OBSERVED:
            return _layers_in_words(self.domain["inputs"])
        return "; ".join(each["text"] for each in self.domain["inputs"]) or "any input"

    def about(self) -> dict[str, Any]:
        """What the verdicts speak of, in a few texts: for recordings and manifests."""
        told = json.dumps(_strict(self.domain), sort_keys=True)
        return {
            "checkpoint": self.digest,
            "domain": str(self.domain["kind"]),
            "text": self.words,
            "sha256": hashlib.sha256(told.encode()).hexdigest(),
            "methods": list(self.methods),
            "arithmetic": self.arithmetic,
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A mapping for each neuron that was asked about, with one set of keys, for tables."""
        for site in self.sites:
            for k, index in enumerate(site.index.tolist()):
                seen = site.witness(k)
                yield {
                    "site": site.name,
                    "index": index,
                    "verdict": str(site.verdict[k]),
                    "bound": _number(site.bound[k]),
                    "threshold": site.threshold,
                    "method": str(site.method[k]) or None,
                    "inequality": site.inequality(k),
                    "radius": _number(site.radius[k]),
                    "witness": None if seen is None else seen.found,
                    "z": None if seen is None else seen.z,
                    "a": None if seen is None else seen.a,
                    "sample": None if seen is None else seen.sample,
                    "reason": str(site.reason[k]) or None,
                }

    def to_dict(self) -> dict[str, Any]:
        """The document, of plain values: strict JSON, `schemas/certificate-1.schema.json`."""
        return {
            "schema": SCHEMA,
            "checkpoint": _strict(self.checkpoint),
            "domain": _strict(self.domain),
            "methods": list(self.methods),
            "arithmetic": {
                "model": self.arithmetic,
                "unit_roundoff": self.unit,
                "slack": "γ_n·Σ|terms|, n the terms of each sum and 16 roundings more: any order of summation, "
                "products fused or not, constants folded into weights",
            },
            "shapes": self.shapes,
            "free_sizes": list(self.free_sizes),
            "constants": self.constants,
            "summary": {"sites": len(self.sites) + len(self.undecidable), **self.summary},
            "sites": [self._site(site) for site in self.sites],
            "undecidable": [
                {
                    "name": each.name,
                    "neurons": each.neurons,
                    "index": list(each.index),
                    "reason": each.reason,
                }
                for each in self.undecidable
            ],
            "seconds": round(self.seconds, 3),
            "time_budget": self.budget,
            "notes": list(self.notes),
        }

    def _site(self, site: SiteCertificates) -> dict[str, Any]:
        return {
            "name": site.name,
            "activation": site.activation,
            "neurons": site.neurons,
            "threshold": site.threshold,
            "plateau": site.plateau,
            "assumes": list(site.assumes),
            "every_size": site.every_size,
            "counts": {verdict: site.count(verdict) for verdict in VERDICTS},
            "rows": [self._row(site, k) for k in range(len(site.index))],
        }

    def _row(self, site: SiteCertificates, k: int) -> dict[str, Any]:
        seen = site.witness(k)
        row = {
            "index": int(site.index[k]),
            "verdict": str(site.verdict[k]),
            "bound": _number(site.bound[k]),
            "method": str(site.method[k]) or None,
            "inequality": site.inequality(k),
        }
        if not np.isnan(site.radius[k]):
            row["radius"] = _number(site.radius[k])
        if seen is not None:
            row["witness"] = {
                "found": seen.found,
                "z": _number(seen.z),
                "a": _number(seen.a),
                "sample": seen.sample,
                "inputs": self._inputs(seen.row),
            }
        if site.reason[k]:
            row["reason"] = str(site.reason[k])
        return row

    def _inputs(self, row: int | None) -> dict[str, Any] | None:
        """The witness itself where it is small; larger ones go to a file of their own."""
        if row is None:
            return None
        kept = {name: rows[row] for name, rows in self.witnesses.items()}
        small = sum(value.size for value in kept.values()) <= _SHOWN_VALUES
        return {name: value.tolist() for name, value in kept.items()} if small else None

    def to_plain(self) -> Plain:
        """As values for strict JSON and arrays by name; `from_plain` undoes it."""
        arrays = {f"witness/{name}": value for name, value in self.witnesses.items()}
        sites = []
        for k, site in enumerate(self.sites):
            told: dict[str, Any] = {}
            for each in fields(site):
                value = getattr(site, each.name)
                if isinstance(value, np.ndarray) and value.dtype.kind in "if":
                    arrays[f"{k}/{each.name}"] = value
                else:
                    told[each.name] = value.tolist() if isinstance(value, np.ndarray) else value
            sites.append(told)
        plain = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in ("sites", "undecidable", "witnesses")
        }
        plain["sites"] = sites
        plain["undecidable"] = [
            [each.name, each.neurons, each.index, each.reason] for each in self.undecidable
        ]
        return plain, arrays

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Certificates:
        """The inverse of `to_plain`."""
        given = dict(plain)
        sites = []
        for k, told in enumerate(given.pop("sites")):
            beside = {name: arrays[f"{k}/{name}"] for name in _NUMBERS}
            words = {name: np.array(told[name], np.str_) for name in _WORDS}
            sites.append(SiteCertificates(**{**told, **beside, **words, "assumes": tuple(told["assumes"])}))
        for name in ("methods", "free_sizes", "notes"):
            given[name] = tuple(given[name])
        prefix = "witness/"
        return cls(
            sites=tuple(sites),
            undecidable=tuple(
                Undecidable(name, neurons, tuple(index), reason)
                for name, neurons, index, reason in given.pop("undecidable")
            ),
            witnesses={
                name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)
            },
            **given,
        )


def _layers_in_words(read: Sequence[Mapping[str, Any]]) -> str:
    """One sentence for what all layers read."""
    first = read[0] if read else {}
    wider = f", {first['margin']:g} wider on both sides" if first.get("margin") else ""
    return (
        "whatever keeps what each layer reads within the range of each element seen over "
        f"{first.get('samples') or 0:,} samples{wider}"
    )


def rounded_up(bound: float) -> str:
    """Six digits, never below the bound itself.

    >>> rounded_up(1.0000001), rounded_up(-4.9181249), rounded_up(-0.5)
    ('1.00001', '-4.91812', '-0.5')
    """
    made = Decimal(float(bound))
    return (
        f"{made.normalize(Context(prec=6, rounding=ROUND_CEILING)):f}"
        if 1e-4 <= abs(made) < 10**9
        else (f"{made.normalize(Context(prec=6, rounding=ROUND_CEILING)):g}")
    )


def rounded_down(value: float) -> str:
    """Three digits, never above the value.

    >>> rounded_down(0.0619999), rounded_down(2.0)
    ('0.0619', '2')
    """
    least = Decimal(float(value)).normalize(Context(prec=3, rounding=ROUND_FLOOR))
    return f"{least:f}" if 1e-4 <= abs(least) < 10**9 else f"{least:g}"


_NUMBERS = ("index", "bound", "z", "a", "sample", "row", "radius")
_WORDS = ("verdict", "method", "found", "reason")


def site_of(
    about: Mapping[str, Any], index: Sequence[int] | Ints, verdict: Sequence[str], **columns: Any
) -> SiteCertificates:
    """A site from its facts and the columns that are known; the others say that nothing is."""
    asked = len(index)
    empty: dict[str, Any] = {
        "bound": np.full(asked, np.inf),
        "method": np.full(asked, ""),
        "found": np.full(asked, ""),
        "z": np.full(asked, np.nan),
        "a": np.full(asked, np.nan),
        "sample": np.full(asked, -1, np.int64),
        "row": np.full(asked, -1, np.int64),
        "reason": np.full(asked, ""),
        "radius": np.full(asked, np.nan),
    }
    return SiteCertificates(
        **about,
        index=np.asarray(index, np.int64),
        verdict=np.array(verdict, np.str_),
        **{**empty, **{name: np.asarray(value) for name, value in columns.items()}},
    )


def _number(value: Any) -> float | None:
    """None where it is not finite: strict JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(member) for key, member in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _strict(value.tolist())
    if isinstance(value, list | tuple):
        return [_strict(member) for member in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
