"""onnxruntime sessions: the only place that makes them. Single-threaded, silent, without telemetry."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nla.errors import DataError, LimitError, ModelError, NlaError, one_line

Array = NDArray[Any]
CPU = "CPUExecutionProvider"
_WARNINGS, _FATAL_ONLY = 2, 4
_NO_ROW = "indices element out of data bounds"
"""What onnxruntime says where an index leads out of an embedding."""


class Runnable(Protocol):
    """What can be run as a session is."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    def run(
        self, names: Sequence[str], feeds: Mapping[str, Array], *, shrink: bool = False
    ) -> list[Array]: ...


class Session:
    """One onnxruntime session, callable from several threads at once.

    One intra-op thread: replay is parallel over samples, because a multi-threaded kernel that runs straight after a
    multi-threaded inference finds that pool still spinning, at up to a third of the speed.
    """

    def __init__(
        self,
        model: bytes,
        external: Mapping[str, Array] | None = None,
        providers: Sequence[str] = (CPU,),
        optimise: bool = True,
        verbose: bool = False,
        without: Sequence[str] = (),
    ) -> None:
        """`without` names optimisers of onnxruntime that are left out."""
        ort = load_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _WARNINGS if verbose else _FATAL_ONLY
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
        give_external(options, external)
        try:
            self._session = ort.InferenceSession(
                model, options, providers=list(providers), disabled_optimizers=list(without)
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise _told("onnxruntime cannot load the model", error) from error
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())

    def run(self, names: Sequence[str], feeds: Mapping[str, Array], *, shrink: bool = False) -> list[Array]:
        """The tensors `names`, in their order. `shrink` gives the memory of a run larger than the others back.

        Raises:
            ModelError: onnxruntime refuses the inputs or fails in an operator.
        """
        wanted = {name: feeds[name] for name in self.inputs if name in feeds}
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise ModelError(
                f"the model needs a value for its input {one_line(missing[0])}: give --set NAME=VALUE"
            )
        try:
            options = _shrinking() if shrink else None
            return [np.asarray(value) for value in self._session.run(list(names), wanted, options)]
        except Exception as error:
            raise _told("onnxruntime failed while running the model", error) from error


def give_memory_back() -> None:
    """Returns what ended sessions and graphs left to the system: up to twice the model's size otherwise stays."""
    gc.collect()  # nodes and values of a graph refer to one another
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


def _shrinking() -> Any:
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def give_external(options: Any, external: Mapping[str, Array] | None) -> None:
    """Hands external files over by location, mapped by nla's one opener: onnxruntime then opens no path itself."""
    if external:
        files = list(external.values())
        sizes = [len(file) for file in files]
        options.add_external_initializers_from_files_in_memory(list(external), files, sizes)


def _told(what: str, error: Exception) -> NlaError:
    """onnxruntime's exception as one line of ours; a failed allocation is a matter of limits, not of the model."""
    text = one_line(error)
    if "bad_alloc" in text or "Failed to allocate memory" in text:
        return LimitError(f"{what}: it asks for more memory than the limit (--memory-limit): {text}")
    if _NO_ROW in text:
        return DataError(
            f"{what}: an index that is fed, such as a token id or a position, has no row in the model's table: "
            f"{text[text.index(_NO_ROW) :]}"
        )
    return ModelError(f"{what}: {text}")


def load_onnxruntime() -> Any:
    """onnxruntime, its telemetry off before the import: it writes to the home folder before any call could stop it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def check_providers(providers: Sequence[str]) -> None:
    """Refuses a provider that this onnxruntime does not have.

    Raises:
        ModelError: names it and those there are.
    """
    have = load_onnxruntime().get_available_providers()
    for name in providers:
        if name not in have:
            raise ModelError(f"onnxruntime has no provider {one_line(name)} here; it has {', '.join(have)}")
