"""All stages of a checkpoint run in sequence on one batch: a session for verification, small in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from numpy.typing import NDArray

from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.graph.prepare import prepare
from nla.replay.session import CPU, Runnable, Session
from nla.replay.streaming.cutting import cutting
from nla.replay.streaming.sessions import Sessions, StageSession
from nla.replay.streaming.stage_graph import StageGraph
from nla.replay.streaming.weights import BoundWeights

Array = NDArray[Any]

_KEPT_BYTES = 256 << 20
"""The weights of a checkpoint up to this size stay bound from run to run."""


def session_of(
    checkpoint: OnnxCheckpoint, providers: Sequence[str] = (CPU,), verbose: bool = False
) -> Runnable:
    """A session on the checkpoint as its files stand: in stages where it is cut into some.

    Raises ModelError: onnxruntime does not load it.
    """
    if isinstance(checkpoint, BuiltCheckpoint) and checkpoint.cuts:
        return StagedSession(checkpoint, providers, verbose)
    external = checkpoint.map_external()
    return Session(checkpoint.proto.SerializeToString(), external, providers, verbose=verbose)


class StagedSession:
    """Has the interface of a `Session` on the whole model; may be run from several threads at once."""

    def __init__(
        self, checkpoint: BuiltCheckpoint, providers: Sequence[str] = (CPU,), verbose: bool = False
    ) -> None:
        model = prepare(checkpoint).model  # types of the cuts are inferred there
        self._cut = cutting(model.graph, checkpoint.cuts)
        self._sessions = Sessions(model, checkpoint.external_files, providers, verbose)
        self._graphs: dict[tuple[int, tuple[str, ...]], StageGraph] = {}
        self._bound: dict[int, BoundWeights] | None = {} if checkpoint.size_bytes <= _KEPT_BYTES else None
        self._lock = threading.Lock()
        self.inputs: tuple[str, ...] = tuple(str(value.name) for value in model.graph.inputs)

    def run(self, names: Sequence[str], feeds: Mapping[str, Array], *, shrink: bool = False) -> list[Array]:
        """The tensors `names`, in their order. Raises ModelError: no such tensor, or a stage fails."""
        levels = [self._cut.stage_of(name) for name in names]
        found: dict[str, Array] = {}
        given = dict(feeds)
        for k in range(max(levels, default=-1) + 1):
            after = self._cut.after(k) if k < max(levels) else None
            wanted = [name for name, level in zip(names, levels, strict=True) if level == k]
            fetched = tuple(dict.fromkeys([*wanted, *([] if after is None else [after])]))
            graph = self._graph(k, fetched)
            # Casts take the memory of a stage's weights: one run at a time makes them.
            alone = self._bound is None and any(w.bytes_held for w in graph.weights.values())
            with self._lock if alone else nullcontext():
                session = self._sessions.session(graph.content)
                stage = StageSession(session, graph, self._weights(k).feeds(graph.weights))
                values = dict(zip(fetched, stage.run(fetched, given, shrink=shrink), strict=True))
                del stage
            found.update(values)
            if after is not None:
                given = {**feeds, after: values[after]}
        return [found[name] for name in names]

    def _graph(self, k: int, fetched: tuple[str, ...]) -> StageGraph:
        if (k, fetched) not in self._graphs:
            self._graphs[k, fetched] = self._sessions.stage(fetched, self._cut.before(k))
        return self._graphs[k, fetched]

    def _weights(self, k: int) -> BoundWeights:
        if self._bound is None:
            return self._sessions.bind()
        return self._bound.setdefault(k, self._sessions.bind())
