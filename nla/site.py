"""Sites: where a layer of neurons is observed and cut. Frozen values that know no ONNX.

A site is named by the activation's output tensor. `channel_axes` says where the neurons lie in that tensor, counted
from the end (so that it holds for every rank): a dense layer has (-1,), an NCHW feature map (-3,), both directions
of an LSTM's `Y` (-3, -1). A `head` groups `unit_size` adjacent channels into one neuron, observed as the Euclidean
norm of that slice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from nla.activations import Activation

ROLES = ("mlp_pre", "mlp_post", "attn_out", "head", "conv", "dense", "recurrent", "linear")


@dataclass(frozen=True)
class Producer:
    """A weighted node whose output channels are the site's neurons (or some of them)."""

    node: str
    op_type: str
    weight: str
    bias: str | None = None
    weight_axis: int = 0
    """Axis of `weight` along which the neurons lie."""
    groups: int = 1
    channel_offset: int = 0
    """First output channel of the producer that belongs to the site (a Split or Slice lies between)."""


@dataclass(frozen=True)
class Consumer:
    """A weighted node that reads the site's neurons as its input channels."""

    node: str
    op_type: str
    weight: str
    weight_axis: int = 1
    """Axis of `weight` along which the site's neurons lie."""
    site: str | None = None
    """The site that this consumer produces, where there is one."""
    parameters_per_neuron: int = 0


@dataclass(frozen=True)
class Site:
    """One layer of neurons, understood well enough to be observed and counted."""

    name: str
    role: str
    activation: Activation
    neurons: int
    channel_axes: tuple[int, ...] = (-1,)
    rank: int | None = None
    """Rank of the tensor `name` where it is known before any run."""
    unit_size: int = 1
    pre: str | None = None
    """Name of the pre-activation tensor z, where there is one."""
    producers: tuple[Producer, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    gate: str | None = None
    up: str | None = None
    upstream: tuple[str, ...] | None = None
    """Sites that feed every input channel of the producers, in channel order; None: something else feeds them too."""
    coupled: tuple[str, ...] = ()
    """Sites whose channels must be cut together with this one's."""
    bottleneck: bool = False
    """True where every path from the inputs to the outputs passes here: if it is silent, the network is."""
    parameters_in: int = 0
    """Incoming parameters of one neuron: its weights, bias, and per-channel parameters on the way."""
    out_norm: np.ndarray | None = field(default=None, compare=False, repr=False)
    """float64 [neurons], Euclidean norm of each neuron's outgoing weights; None where a consumer is unknown."""

    @property
    def channel_axis(self) -> int:
        """Axis of the neurons in the tensor: from the front where the rank is known, else from the end."""
        axis = self.channel_axes[-1]
        return axis if self.rank is None or axis >= 0 else axis + self.rank

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `out_norm` is an array and travels beside it."""
        plain = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("out_norm", "activation")
        }
        plain["activation"] = self.activation.to_dict()
        plain["producers"] = [asdict(p) for p in self.producers]
        plain["consumers"] = [asdict(c) for c in self.consumers]
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any], out_norm: np.ndarray | None = None) -> Site:
        """The inverse of `to_dict`.

        Raises:
            ValueError, TypeError, KeyError, ModelError: the values are not those of a site.
        """
        values = dict(plain)
        values["activation"] = Activation.from_dict(values["activation"])
        values["producers"] = tuple(Producer(**p) for p in values["producers"])
        values["consumers"] = tuple(Consumer(**c) for c in values["consumers"])
        for name in ("channel_axes", "coupled"):
            values[name] = tuple(values[name])
        values["upstream"] = None if values["upstream"] is None else tuple(values["upstream"])
        return checked(replace(cls(**values), out_norm=out_norm))


@dataclass(frozen=True)
class NotUnderstood:
    """A place in the graph that looks like a site and was left alone, and why."""

    name: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class Input:
    """A model input as the graph declares it."""

    name: str
    dtype: str
    """NumPy's name of the element type: float32, int64, …; `str` for strings."""
    shape: tuple[int | str | None, ...] | None
    """A size, a symbol, or None for each axis; None where the rank is unknown."""


@dataclass(frozen=True)
class Survey:
    """What `nla sites` found in a checkpoint."""

    sites: tuple[Site, ...]
    not_understood: tuple[NotUnderstood, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    parameters: int
    """Number of weights in the checkpoint."""
    checkpoint: dict[str, Any]
    """path (as given), format, digest (sha256), bytes, producer, opsets."""
    notes: tuple[str, ...] = ()
    """What was done to the graph before it was read: constants set, branches resolved, functions inlined."""

    def to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain values for JSON, and the arrays beside them: what travels between processes."""
        sites, arrays = sites_to_plain(self.sites)
        plain = {
            "sites": sites,
            "not_understood": [asdict(place) for place in self.not_understood],
            "inputs": [asdict(i) for i in self.inputs],
            "outputs": list(self.outputs),
            "parameters": self.parameters,
            "checkpoint": self.checkpoint,
            "notes": list(self.notes),
        }
        return plain, arrays

    @classmethod
    def from_plain(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Survey:
        """The inverse of `to_plain`."""
        inputs = (Input(i["name"], i["dtype"], _shape(i["shape"])) for i in plain["inputs"])
        return cls(
            sites=sites_from_plain(plain["sites"], arrays),
            not_understood=tuple(NotUnderstood(**place) for place in plain["not_understood"]),
            inputs=tuple(inputs),
            outputs=tuple(plain["outputs"]),
            parameters=plain["parameters"],
            checkpoint=plain["checkpoint"],
            notes=tuple(plain["notes"]),
        )


def _shape(plain: list[int | str | None] | None) -> tuple[int | str | None, ...] | None:
    return None if plain is None else tuple(plain)


def sites_to_plain(sites: tuple[Site, ...]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Sites as plain values, and their `out_norm` as arrays `out_norm/0`, `out_norm/1`, … where it is known."""
    arrays = {f"out_norm/{k}": site.out_norm for k, site in enumerate(sites) if site.out_norm is not None}
    return [site.to_dict() for site in sites], arrays


def sites_from_plain(plain: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> tuple[Site, ...]:
    """The inverse of `sites_to_plain`."""
    return tuple(Site.from_dict(site, arrays.get(f"out_norm/{k}")) for k, site in enumerate(plain))


_Made = TypeVar("_Made")


def checked(made: _Made) -> _Made:
    """A value of this module that was built from a file, unless a field is of another type than it declares.

    Raises:
        ValueError: a field of another type, or a site without neurons, of an unknown role or without an axis.
    """
    hints = get_type_hints(type(made))
    wrong = [name for name, kind in hints.items() if not _is_a(getattr(made, name), kind)]
    if isinstance(made, Site) and not wrong:
        right = made.role in ROLES and made.neurons > 0 and made.unit_size > 0 and made.channel_axes
        wrong = [] if right else ["role, neurons, unit_size or channel_axes"]
    if wrong:
        raise ValueError(f"a {type(made).__name__} with strange {', '.join(wrong)}")
    return made


def _is_a(value: object, kind: Any) -> bool:
    """True where the value has the declared type: plain, a union, a tuple of one type, a dataclass."""
    origin = get_origin(kind)
    if origin is UnionType:
        return any(_is_a(value, each) for each in get_args(kind))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_a(item, get_args(kind)[0]) for item in value)
    if origin is not None or kind is Any:
        return isinstance(value, origin or object)
    if (
        isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == __name__
    ):  # an Activation has checked itself
        hints = get_type_hints(kind)
        return isinstance(value, kind) and all(_is_a(getattr(value, name), hints[name]) for name in hints)
    return type(value) is kind
