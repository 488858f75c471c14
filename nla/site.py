"""Sites: where a layer of neurons is observed and cut. Frozen values that know no ONNX.

A site is named by the activation's output tensor. `channel_axes` says where the neurons lie in that tensor, counted
from the end (so that it holds for every rank): a dense layer has (-1,), an NCHW feature map (-3,), both directions
of an LSTM's `Y` (-3, -1). A `head` groups `unit_size` adjacent channels into one neuron, observed as the Euclidean
norm of that slice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from nla.activations import Activation

ROLES = ("mlp_pre", "mlp_post", "attn_out", "head", "conv", "dense", "recurrent", "linear")

ARRAYS = {"out_norm": "float64", "groups": "int64"}
"""The fields of a site that are arrays [neurons], by the type of their elements."""

MOST_GROUPS = 1 << 24
"""Channels of a graph that can be cut: in one with more, none can."""


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
    shape: tuple[int, ...] | None = None
    """Shape of `weight` in the checkpoint, where it is known."""
    data: str | None = None
    """Name of the tensor that the node multiplies; None where that holds no floats, or is not known."""
    data_axis: int = -1
    """Axis of `data`, counted from the end, along which its input channels lie."""
    inputs: int = 0
    """Number of its input channels, those of all groups; 0 where they lie on several axes, or it is not known."""


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
    shape: tuple[int, ...] | None = None
    """Shape of `weight` in the checkpoint, where it is known."""
    places: tuple[int, ...] | None = None
    """(first, stride, count, step): along `weight_axis` neuron k holds first + k·stride + step·(0 … count - 1);
    None where it is not known, or not so regular."""


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
    shielded_by: tuple[str, ...] = ()
    """Of these, sites that leave nothing of this one's channel to be read where theirs is zero."""
    bottleneck: bool = False
    """True where every path from the inputs to the outputs passes here: if it is silent, the network is."""
    parameters_in: int = 0
    """Incoming parameters of one neuron: its weights, bias, and per-channel parameters on the way."""
    out_norm: np.ndarray | None = field(default=None, compare=False, repr=False)
    """float64 [neurons], Euclidean norm of each neuron's outgoing weights; None where a consumer is unknown."""
    groups: np.ndarray | None = field(default=None, compare=False, repr=False)
    """int64 [neurons], the group of channels that leaves the graph with each neuron, numbered over the whole graph;
    -1 for a neuron that cannot leave. None at pre-activations and other sites without an activation of their own
    (`mlp_pre`, `linear`), whose neurons leave with those behind, and in recordings of earlier versions."""
    kept: str | None = None
    """What keeps neurons of group -1 in the graph, a noun phrase that goes on from 'kept by'; None: all can leave."""

    @property
    def channel_axis(self) -> int:
        """Axis of the neurons in the tensor: from the front where the rank is known, else from the end."""
        axis = self.channel_axes[-1]
        return axis if self.rank is None or axis >= 0 else axis + self.rank

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `out_norm` and `groups` are arrays and travel beside it."""
        apart = (*ARRAYS, "activation")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        plain["activation"] = self.activation.to_dict()
        plain["producers"] = [asdict(p) for p in self.producers]
        plain["consumers"] = [asdict(c) for c in self.consumers]
        return plain

    @classmethod
    def from_dict(
        cls, plain: dict[str, Any], out_norm: np.ndarray | None = None, groups: np.ndarray | None = None
    ) -> Site:
        """The inverse of `to_dict`.

        Raises:
            ValueError, TypeError, KeyError, ModelError: the values are not those of a site.
        """
        values = dict(plain)
        values["activation"] = Activation.from_dict(values["activation"])
        values["producers"] = tuple(Producer(**_with_shape(p)) for p in values["producers"])
        values["consumers"] = tuple(Consumer(**_with_shape(c)) for c in values["consumers"])
        for name in ("channel_axes", "coupled", "shielded_by"):
            values[name] = tuple(values.get(name, ()))
        values["upstream"] = None if values["upstream"] is None else tuple(values["upstream"])
        return checked(replace(cls(**values), out_norm=out_norm, groups=groups))


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


def _with_shape(plain: dict[str, Any]) -> dict[str, Any]:
    """The values of a Producer or Consumer, lists as tuples; one of an earlier version has no shape."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _shape(plain: list[int | str | None] | None) -> tuple[int | str | None, ...] | None:
    return None if plain is None else tuple(plain)


def sites_to_plain(sites: tuple[Site, ...]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Sites as plain values, and their arrays, where known, as `out_norm/0`, `groups/0`, `out_norm/1`, …"""
    arrays = {
        f"{name}/{k}": array
        for k, site in enumerate(sites)
        for name in ARRAYS
        if (array := getattr(site, name)) is not None
    }
    return [site.to_dict() for site in sites], arrays


def sites_from_plain(plain: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> tuple[Site, ...]:
    """The inverse of `sites_to_plain`."""
    return tuple(
        Site.from_dict(site, **{name: arrays.get(f"{name}/{k}") for name in ARRAYS})
        for k, site in enumerate(plain)
    )


_Made = TypeVar("_Made")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The declared types of a dataclass's fields: reading them off the source's strings is slow."""
    return get_type_hints(kind)


def checked(made: _Made) -> _Made:
    """A value of this module that was built from a file, unless a field is of another type than it declares.

    Raises:
        ValueError: a field of another type, or a site without neurons, of an unknown role or without an axis,
            or with groups or shapes that no graph has.
    """
    kind: Any = type(made)
    hints = _hints(kind)
    wrong = [name for name, kind in hints.items() if not _is_a(getattr(made, name), kind)]
    if isinstance(made, Site) and not wrong:
        right = made.role in ROLES and made.neurons > 0 and made.unit_size > 0 and made.channel_axes
        wrong = [] if right else ["role, neurons, unit_size or channel_axes"]
        wrong += [] if _good_groups(made.groups) else ["groups"]
        shapes = [layer.shape or () for layer in made.producers] + [c.shape or () for c in made.consumers]
        wrong += ["shapes"] if any(size < 0 for shape in shapes for size in shape) else []
        wrong += [] if all(_good_places(consumer.places) for consumer in made.consumers) else ["places"]
    if wrong:
        raise ValueError(f"a {type(made).__name__} with strange {', '.join(wrong)}")
    return made


def _good_groups(groups: np.ndarray | None) -> bool:
    return groups is None or not groups.size or bool(groups.min() >= -1 and groups.max() < MOST_GROUPS)


def _good_places(places: tuple[int, ...] | None) -> bool:
    return places is None or (len(places) == 4 and all(abs(place) < 1 << 31 for place in places))


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
        hints = _hints(kind)
        return isinstance(value, kind) and all(_is_a(getattr(value, name), hints[name]) for name in hints)
    return type(value) is kind
