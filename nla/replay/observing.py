"""How a checkpoint is observed: a file with a graph as a whole, one that was cut into stages one stage at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.graph.prepare import Prepared
from nla.replay.feeds import SplitData
from nla.replay.opening import Model
from nla.replay.passes import Settings, SplitResult, replay_split
from nla.replay.session import check_providers
from nla.replay.streaming.cutting import cutting
from nla.replay.streaming.splitting import Streamed
from nla.replay.streaming.work import opened
from nla.site import Site

Progress = Callable[[str, int, int], None]


class Observe(Protocol):
    """All statistics of all sites over one split of the data, which has a name."""

    def __call__(
        self,
        name: str,
        sites: Sequence[Site],
        data: SplitData,
        settings: Settings,
        progress: Progress,
        *,
        observe_pre: bool = True,
    ) -> SplitResult: ...


@contextmanager
def observing(
    checkpoint: OnnxCheckpoint,
    prepared: Prepared,
    providers: Sequence[str],
    *,
    work: Path | None = None,
    key: Callable[[], str] = str,
    verbose: bool = False,
) -> Iterator[Observe]:
    """What observes the checkpoint.

    `work` is a folder that lets a replay in stages go on after a kill, where its key is the same.

    Raises:
        ModelError: onnxruntime lacks a provider.
        OutputError: the work folder cannot be used.
    """
    check_providers(providers)
    if not isinstance(checkpoint, BuiltCheckpoint) or not checkpoint.cuts:
        yield _whole(checkpoint, prepared, providers, verbose)
        return
    cut = cutting(prepared.model.graph, checkpoint.cuts)
    files, constants = checkpoint.external_files, prepared.constant_feeds
    with opened(work, "" if work is None else key()) as kept:
        yield Streamed(prepared.model, cut, files, constants, kept, providers, verbose).replay_split


def _whole(
    checkpoint: OnnxCheckpoint, prepared: Prepared, providers: Sequence[str], verbose: bool
) -> Observe:
    model = Model(
        prepared.model,
        prepared.inputs,
        prepared.constant_feeds,
        checkpoint.map_external(),
        checkpoint.size_bytes,
        tuple(providers),
        verbose,
    )

    def observe(
        name: str,
        sites: Sequence[Site],
        data: SplitData,
        settings: Settings,
        progress: Progress,
        *,
        observe_pre: bool = True,
    ) -> SplitResult:
        return replay_split(model, sites, data, settings, progress, observe_pre=observe_pre)

    return observe
