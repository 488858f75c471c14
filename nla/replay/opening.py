"""From a prepared graph to a tapped session that is known to tell samples apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nla.errors import ModelError
from nla.graph.given import ConstantFeed
from nla.graph.rewrite import Lifted, extract, free_batch, lift
from nla.replay.blocked import blocked_model
from nla.replay.feeds import Data
from nla.replay.pace import Pace
from nla.replay.probe import Probe, Runner, probe
from nla.replay.session import CPU, Session, give_memory_back
from nla.replay.taps import BlockedTap, Taps, same_values
from nla.site import Input, Site

if TYPE_CHECKING:
    import onnx_ir

Array = NDArray[Any]

_PROBED_BLOCKED = 2
_LARGEST_BLOCKED = 1 << 30
"""Weights above this size are not written out a second time for the blocked tap."""


@dataclass(frozen=True)
class Model:
    """A prepared graph and what a session on it needs."""

    graph: onnx_ir.Model
    inputs: tuple[Input, ...]
    constants: Mapping[str, ConstantFeed]
    external: Mapping[str, Array]
    """External files by location, uint8, mapped."""
    size_bytes: int
    providers: tuple[str, ...] = (CPU,)
    verbose: bool = False
    """Let onnxruntime's warnings through."""

    @cached_property
    def lifted(self) -> Lifted:
        """The large inline weights, which sessions are given beside the protobuf."""
        return lift(self.graph)

    @cached_property
    def files(self) -> dict[str, Array]:
        """Everything that a graph cut out of this model may refer to, by location."""
        return {**self.external, **self.lifted.files}

    def session(self, content: bytes) -> Session:
        """A session on a graph cut out of this model, serialised."""
        return Session(content, self.files, self.providers, verbose=self.verbose)

    def open(self, sites: Sequence[Site], data: Data, pre: Sequence[bool], *, blocked: bool = True) -> Opened:
        """As `open_taps`."""
        return open_taps(self, sites, data, pre, blocked=blocked)


@dataclass(frozen=True)
class Opened:
    """A tapped session, and what the first samples said of it."""

    taps: Taps
    probe: Probe
    pace: Pace | None = None
    """Where it is settled for more than these taps."""


class Tappable(Protocol):
    """A model, or a part of one, whose tensors can be observed."""

    def open(self, sites: Sequence[Site], data: Any, pre: Sequence[bool], *, blocked: bool = True) -> Opened:
        """A session that gives the tensor of every site, and z too where `pre` says so; see `open_taps`."""


def open_taps(
    model: Model, sites: Sequence[Site], data: Data, pre: Sequence[bool], *, blocked: bool = True
) -> Opened:
    """A session that gives the tensor of every site, and z too where `pre` says so.

    `blocked` allows onnxruntime's blocked layout, which takes a session more to find: not worth it for few samples.

    Raises:
        ModelError: onnxruntime does not load or run the model, or a tensor is not what the graph promised.
    """
    z_sites = [
        replace(s, name=s.pre) if wanted and s.pre else None for s, wanted in zip(sites, pre, strict=True)
    ]
    tapped = [*sites, *(s for s in z_sites if s is not None)]
    names = [s.name for s in tapped]
    content = extract(model.graph, list(dict.fromkeys(names)), model.lifted).SerializeToString()
    session = model.session(content)
    freed, joint = _joint(model, content, session, data)
    run = _runner(model, data, names, session, joint)
    seen = probe(tapped, data.samples, run, batchable=joint is not None, varying=varying(data))
    chosen = joint if seen.batched and joint is not None else session
    layouts = iter(seen.layouts[len(sites) :])
    taps = Taps(
        chosen,
        tuple(s.name for s in sites),
        seen.layouts[: len(sites)],
        model.constants,
        tuple(None if s is None else s.name for s in z_sites),
        tuple(None if s is None else next(layouts) for s in z_sites),
    )
    if blocked:
        taps = _blocked(model, freed if seen.batched else content, taps, data) or taps
    give_memory_back()
    return Opened(taps, seen)


def _runner(
    model: Model, data: Data, names: Sequence[str], session: Session, joint: Session | None
) -> Runner:
    """Runs one sample by `session`, several by `joint`."""

    def run(where: NDArray[np.int64]) -> list[Array]:
        feeds = {name: c.of(len(where)) for name, c in model.constants.items()}
        feeds.update(data.feeds(where))
        if len(where) > 1 and joint is not None:
            return joint.run(names, feeds, shrink=True)
        # Copies, as the session would else keep room for the tensors of several runs.
        return [value.copy() for value in session.run(names, feeds)]

    return run


def _joint(model: Model, content: bytes, session: Session, data: Data) -> tuple[bytes, Session | None]:
    """The graph and the session for several samples at once; None for the session where there is no such one."""
    declared = {i.name: i.shape for i in model.inputs}
    fixed = [n for n in data.data_inputs if (shape := declared.get(n)) and isinstance(shape[0], int)]
    if not data.batchable:
        return content, None
    if not fixed:
        return content, session
    axes = dict.fromkeys(data.data_inputs, 0) | {name: c.batch_axis for name, c in model.constants.items()}
    freed = _freed(content, axes)
    if freed is None:
        return content, None
    try:
        return freed, model.session(freed)
    except ModelError:  # the graph holds the batch of 1 somewhere that a new input shape does not reach
        return content, None


def _freed(content: bytes, axes: Mapping[str, int]) -> bytes | None:
    """The graph with a free batch on these axes of its inputs; None where it plainly has none."""
    import onnx

    proto = onnx.ModelProto.FromString(content)
    read = {i.name for i in proto.graph.input}
    freed = free_batch(proto, {name: axis for name, axis in axes.items() if name in read})
    return None if freed is None else freed.SerializeToString()


def varying(data: Data) -> bool:
    """Whether the size of an input, beside the batch, changes from batch to batch."""
    return any(size is None for shape in data.shapes.values() for size in shape[1:])


def _blocked(model: Model, content: bytes, taps: Taps, data: Data) -> Taps | None:
    """The same taps read in onnxruntime's blocked layout; None where there is none, or where it does not agree."""
    convolves = any(node.op_type in ("Conv", "FusedConv") for node in model.graph.graph)
    if not convolves or model.providers != (CPU,) or model.size_bytes > _LARGEST_BLOCKED:
        return None
    built = blocked_model(content, list(taps.names), model.files)
    if built is None:
        return None
    places = {
        k: BlockedTap(*built.taps[name], built.block)
        for k, name in enumerate(taps.names)
        if name in built.taps and taps.layouts[k].unit_size == 1 and taps.layouts[k].sample_axis in (0, None)
    }
    if not places:
        return None
    faster = replace(
        taps, session=Session(built.model, model.files, model.providers, optimise=False), blocked=places
    )
    return faster if _agree(taps, faster, data) else None


def _agree(plain: Taps, faster: Taps, data: Data) -> bool:
    """Both give the same activations on the first samples, each run alone."""
    for i in range(min(_PROBED_BLOCKED, data.samples)):
        where = np.array([i], np.int64)
        feeds = data.feeds(where)
        one, other = plain.run(feeds, 1), faster.run(feeds, 1)
        for k in range(len(plain.names)):
            if not same_values(faster.view(k, other, 1), plain.view(k, one, 1)):
                return False
    return True
