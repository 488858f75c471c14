"""What `nla.inspect` gives without data: typed, frozen, plain. No activation was seen, and everything says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.site import NotUnderstood, Site, sites_from_plain, sites_to_plain
from nla.theory.initialisation import Likeness, Power

Arrays = Mapping[str, NDArray[Any]]

STATES = ("dead", "constant", "unknown")
"""States that weights can decide, and what is left: whether a neuron is active no weight tells."""
UNSEEN = "No data were given: no activation was seen. What stands here follows from the weights alone."


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer."""

    name: str
    """Of the node."""
    op_type: str
    weight: str
    """Name of the tensor in the checkpoint."""
    shape: tuple[int, ...]
    """As the node sees it."""
    dtype: str
    inputs: int
    outputs: int
    groups: int
    fan_in: int
    fan_out: int
    elements: int
    zeros: int
    denormals: int
    nans: int
    infinities: int
    mean: float
    std: float
    """Root mean square about zero: what an initialiser's standard deviation is."""
    bias: str
    """'none', 'set', 'zero': all of it; 'normalised': zero, and the output goes to a normalisation, which takes every
    gradient from it; 'unknown': it is computed."""
    largest: float
    """max |w|; NaN and infinities left out, as everywhere."""
    spectral_norm: float
    """Of the weight, a convolution's reshaped to [outputs, inputs·positions]; NaN where it holds NaN or infinities."""
    spectral_kind: str
    """'exact'; 'estimate': from below, by an iteration."""
    operator_norm: float
    """Of what the layer does to its input, its bias left out."""
    operator_kind: str
    """'exact', 'estimate', or 'bound': at most this (a convolution: √(overlap) times the reshaped kernel's norm)."""
    likenesses: tuple[Likeness, ...]
    """Every initialisation scheme: those not rejected first, then by distance; empty where weights are zero, or few."""
    nearest: tuple[str, ...]
    """The schemes that cannot be told from the first."""
    power: Power
    """What the comparison can tell."""

    @property
    def rejected(self) -> bool:
        """True where every scheme is rejected, at 1 %. False proves little: see `power`."""
        return bool(self.likenesses) and self.likenesses[0].rejected

    @property
    def sparsity(self) -> float:
        """Share of weights that are exactly zero."""
        return self.zeros / self.elements if self.elements else 0.0


@dataclass(frozen=True)
class SiteWeights:
    """What the weights around one site tell of its neurons."""

    site: Site
    states: NDArray[np.str_]
    """[neurons] of STATES."""
    evidence: Mapping[int, str]
    """Why a neuron is dead or constant, by its index."""
    values: Mapping[int, float]
    """The activation of such a neuron, whatever the input; NaN where φ's parameters differ between channels."""
    incoming_norm: NDArray[np.float64]
    """[neurons] Euclidean norm of what is multiplied into z, scales on the way included; NaN: not known."""
    outgoing_norm: NDArray[np.float64] | None
    """[neurons] of the weights that read the neuron; None where not all readers are known."""
    unread: NDArray[np.bool_] | None
    """[neurons] True where every weight that reads the neuron is zero: it has no effect. None as above."""
    duplicate_of: NDArray[np.int64]
    """[neurons] the first neuron with the same incoming weights and bias (up to a positive factor where φ lets one
    through), to 1e-6 of their norm; -1 where there is none."""
    duplicate_exact: NDArray[np.bool_]
    """[neurons] True where these are equal number by number."""
    compared: int
    """Neurons that were compared with one another: not those that others have a part in."""
    makers: tuple[str, ...]
    """Names of the layers that make the neurons."""
    readers: tuple[str, ...]
    skipped: str = ""
    """Why the weights that make the neurons were not judged, a sentence; "" where they were."""
    outgoing_skipped: str = ""
    """Why outgoing weights are not known, a sentence; "" where they are."""

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site.name

    @property
    def counts(self) -> dict[str, int]:
        """Neurons in each of STATES."""
        return {state: int(np.count_nonzero(self.states == state)) for state in STATES}

    @property
    def unread_count(self) -> int | None:
        """Neurons that nothing reads; None where that is not known."""
        return None if self.unread is None else int(np.count_nonzero(self.unread))

    @property
    def duplicates(self) -> int:
        """Neurons that repeat an earlier one."""
        return int(np.count_nonzero(self.duplicate_of >= 0))


@dataclass(frozen=True)
class Factor:
    """One factor of eq. 4: from the pre-activation of `site` to that of the next."""

    site: str
    slope: float
    """sup |φ′| of the site's activation."""
    layer: str
    norm: float
    """Of what leads from the activation to the next pre-activation."""
    kind: str
    """'exact', 'estimate' or 'bound', of `norm`."""

    @property
    def value(self) -> float:
        """The factor."""
        return self.slope * self.norm


@dataclass(frozen=True)
class Chain:
    """Sites one after the other, along which eq. 4 bounds the gradient."""

    factors: tuple[Factor, ...]
    log10_bounds: tuple[float, ...]
    """log10 of the product from each factor to the last; -inf where a factor is zero."""
    end: str
    """The layer whose output (the pre-activation behind it) the gradient comes from."""
    stopped: str
    """Why the chain goes no further, a sentence."""

    @property
    def kind(self) -> str:
        """What the product is: a 'bound', unless a norm in it is an 'estimate'."""
        return "estimate" if any(factor.kind == "estimate" for factor in self.factors) else "bound"


@dataclass(frozen=True)
class WeightInspection:
    """The result of `nla.inspect` without data."""

    sites: tuple[SiteWeights, ...]
    layers: tuple[LayerWeights, ...]
    chains: tuple[Chain, ...]
    """Longest first. Sites that are in none, and why: `unchained`."""
    unchained: Mapping[str, str]
    """By site, why eq. 4 does not lead on from it, a sentence."""
    not_understood: tuple[NotUnderstood, ...]
    checkpoint: dict[str, Any]
    """path, format, digest, bytes, parameters, …"""
    unread_layers: Mapping[str, str]
    """By layer, why its weights were not read, a sentence."""
    notes: tuple[str, ...] = ()

    activations_seen = False
    """Always: this result never saw one."""

    def __getitem__(self, name: str) -> SiteWeights:
        """The site of that name.

        Raises:
            KeyError: no site bears the name.
        """
        return {found.name: found for found in self.sites}[name]

    def layer(self, name: str) -> LayerWeights:
        """The layer of that name. Raises KeyError."""
        for found in self.layers:
            if found.name == name:
                return found
        raise KeyError(name)

    @property
    def summary(self) -> dict[str, int]:
        """Totals over all sites: neurons, a count for each state, and what stands beside the states."""
        return {
            "neurons": sum(site.site.neurons for site in self.sites),
            **{state: sum(site.counts[state] for site in self.sites) for state in STATES},
            "unread": sum(site.unread_count or 0 for site in self.sites),
            "duplicates": sum(site.duplicates for site in self.sites),
        }

    def to_dict(self) -> dict[str, Any]:
        """The document: plain values for JSON, `schemas/weights-1.schema.json`."""
        from nla.weights.document import document

        return document(self)

    def to_plain(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain values and the arrays beside them: what travels between processes."""
        sites, arrays = sites_to_plain(tuple(found.site for found in self.sites))
        for k, found in enumerate(self.sites):
            for name in _ARRAYS:
                array = getattr(found, name)
                if array is not None:
                    arrays[f"{name}/{k}"] = array
            arrays[f"states/{k}"] = np.array([STATES.index(state) for state in found.states], np.int8)
        plain = {
            "sites": sites,
            "about": [_about(found) for found in self.sites],
            "layers": [asdict(layer) for layer in self.layers],
            "chains": [asdict(chain) for chain in self.chains],
            "unchained": dict(self.unchained),
            "not_understood": [asdict(place) for place in self.not_understood],
            "checkpoint": self.checkpoint,
            "unread_layers": dict(self.unread_layers),
            "notes": list(self.notes),
        }
        return plain, arrays

    @classmethod
    def from_plain(cls, plain: dict[str, Any], arrays: Arrays) -> WeightInspection:
        """The inverse of `to_plain`."""
        sites = sites_from_plain(plain["sites"], dict(arrays))
        return cls(
            sites=tuple(
                _site(site, about, {name: arrays.get(f"{name}/{k}") for name in (*_ARRAYS, "states")})
                for k, (site, about) in enumerate(zip(sites, plain["about"], strict=True))
            ),
            layers=tuple(_layer(layer) for layer in plain["layers"]),
            chains=tuple(
                Chain(
                    tuple(Factor(**factor) for factor in chain["factors"]),
                    tuple(chain["log10_bounds"]),
                    chain["end"],
                    chain["stopped"],
                )
                for chain in plain["chains"]
            ),
            unchained=plain["unchained"],
            not_understood=tuple(NotUnderstood(**place) for place in plain["not_understood"]),
            checkpoint=plain["checkpoint"],
            unread_layers=plain["unread_layers"],
            notes=tuple(plain["notes"]),
        )


_ARRAYS = ("incoming_norm", "outgoing_norm", "unread", "duplicate_of", "duplicate_exact")
_ABOUT = ("compared", "skipped", "outgoing_skipped")


def _about(found: SiteWeights) -> dict[str, Any]:
    return {
        "evidence": [[index, text] for index, text in found.evidence.items()],
        "values": [[index, value] for index, value in found.values.items()],
        "makers": list(found.makers),
        "readers": list(found.readers),
        **{name: getattr(found, name) for name in _ABOUT},
    }


def _site(site: Site, about: dict[str, Any], arrays: dict[str, Any]) -> SiteWeights:
    unread = arrays["unread"]
    return SiteWeights(
        site=site,
        states=np.array(STATES)[arrays["states"]],
        evidence={int(index): str(text) for index, text in about["evidence"]},
        values={int(index): float(value) for index, value in about["values"]},
        incoming_norm=arrays["incoming_norm"],
        outgoing_norm=arrays["outgoing_norm"],
        unread=None if unread is None else unread.astype(np.bool_),
        duplicate_of=arrays["duplicate_of"],
        duplicate_exact=arrays["duplicate_exact"].astype(np.bool_),
        makers=tuple(about["makers"]),
        readers=tuple(about["readers"]),
        **{name: about[name] for name in _ABOUT},
    )


def _layer(plain: dict[str, Any]) -> LayerWeights:
    values = dict(plain)
    values["shape"] = tuple(values["shape"])
    values["likenesses"] = tuple(Likeness(**one) for one in values["likenesses"])
    values["nearest"] = tuple(values["nearest"])
    values["power"] = Power(**values["power"])
    return LayerWeights(**values)


def spread(numbers: Sequence[float] | NDArray[np.float64] | None) -> tuple[float, float, float] | None:
    """(least, median, largest) of the known numbers; None where none is known."""
    known = np.asarray([] if numbers is None else numbers, np.float64)
    known = known[np.isfinite(known)]
    return (float(known.min()), float(np.median(known)), float(known.max())) if len(known) else None
