"""Sessions of stages: stages of equal structure share one, and each brings its weights to every run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from nla.checkpoint.external import ExternalFile
from nla.replay.session import Session
from nla.replay.streaming.stage_graph import StageGraph, stage_graph
from nla.replay.streaming.weights import BoundWeights

Array = NDArray[Any]
Sink = Callable[[Mapping[str, Array], Array], None]
"""Takes what was fed and the tensor of the next cut."""

_KEPT = 4
"""Sessions at hand: each keeps the memory of its largest run, and the passes over a stage need three."""

_WITHOUT = ("SkipLayerNormFusion",)
"""It joins the last addition of a stage with the first normalisation of the next, where the graph is not cut there:
the same numbers are to come out wherever it is."""


class Sessions:
    """The graph of a model, cut into stages, and a session for each structure that was asked for of late."""

    def __init__(
        self,
        model: ir.Model,
        files: Sequence[ExternalFile],
        providers: Sequence[str],
        verbose: bool = False,
    ) -> None:
        self._model = model
        self._files = files
        self._providers = providers
        self._verbose = verbose
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._lock = threading.Lock()
        self.made = 0
        """How many sessions were made so far."""

    def bind(self) -> BoundWeights:
        """The weights of a stage, to be let go of when it is done."""
        return BoundWeights(self._files)

    def stage(self, taps: Sequence[str], before: str | None) -> StageGraph:
        """What computes these tensors from the graph's inputs and the cut `before`. Raises ModelError."""
        return stage_graph(self._model, taps, before)

    def session(self, content: bytes) -> Session:
        """The session on that structure. Raises ModelError: onnxruntime refuses it."""
        with self._lock:
            return self._session(content)

    def _session(self, content: bytes) -> Session:
        if content in self._sessions:
            self._sessions.move_to_end(content)
            return self._sessions[content]
        while len(self._sessions) >= _KEPT:
            self._sessions.popitem(last=False)
        self._sessions[content] = Session(
            content, None, self._providers, verbose=self._verbose, without=_WITHOUT
        )
        self.made += 1
        return self._sessions[content]


class StageSession:
    """A session on one stage that is used as if it were one on the whole model: it knows its weights and its cut."""

    def __init__(
        self,
        session: Session,
        graph: StageGraph,
        feeds: Mapping[str, Any],
        sink: tuple[str, Sink] | None = None,
    ) -> None:
        """`feeds` are the weights by name; `sink` names the next cut, and takes it at every run."""
        self._session = session
        self._graph = graph
        self._feeds = feeds
        self._names = graph.names
        self._weights = {graph.names[name]: value for name, value in feeds.items()}
        self._sink = sink
        self.inputs = graph.inputs

    def without_sink(self) -> StageSession:
        """The same stage for trial runs, whose hidden states nobody takes."""
        return StageSession(self._session, self._graph, self._feeds)

    def run(self, names: Sequence[str], feeds: Mapping[str, Array], *, shrink: bool = False) -> list[Array]:
        """The tensors `names`, in their order; `feeds` may hold more than the stage reads. Raises ModelError."""
        given = {self._names[name]: feeds[name] for name in self.inputs if name in feeds}
        fetched = [*names, *(() if self._sink is None else (self._sink[0],))]
        values = self._session.run(
            [self._names[name] for name in fetched], {**given, **self._weights}, shrink=shrink
        )
        if self._sink is not None:
            self._sink[1](feeds, values.pop())
        return values
