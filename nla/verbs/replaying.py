"""The options that every verb shares which replays data: those of `inspect`, declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from nla.calibration.options import CalibrationOptions
from nla.lifecycle.criteria import Criteria
from nla.verbs.construction import Construction
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath


class ReplayOptions(TypedDict, total=False):
    """How data is read and replayed; `nla.inspect` says what each means, and has the same defaults."""

    labels: StrPath | Array | None
    mask: StrPath | Array | None
    held_out: float
    limit: int | None
    synthetic: int | None
    seed: int
    constants: Mapping[str, Constant] | None
    inputs: Mapping[str, str] | None
    image: Mapping[str, Any] | None
    tokenizer: StrPath | None
    max_length: int | None
    exclude_bos: bool
    processor: StrPath | None
    graph: StrPath | None
    layers: str | Sequence[str] | None
    activation: str | None
    criteria: Criteria | StrPath | Mapping[str, Any] | None
    batch_size: int | str
    providers: Sequence[str]
    threads: int | None
    kernel: str
    memory_limit: int | None
    time_limit: float | None
    in_process: bool
    progress: Progress | None
    verbose: bool


def check_known(verb: str, options: Mapping[str, Any]) -> None:
    """Raises TypeError, as Python does, for an option that no replay has: a name spelt wrongly must not go unseen."""
    for name in options:
        if name not in ReplayOptions.__annotations__:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")


def put_replay(parcel: Parcel, options: ReplayOptions) -> None:
    """The options that a replay of raw outputs takes, into what travels to the child."""
    given: dict[str, Any] = dict(options)
    parcel.arguments.update(
        providers=list(given.get("providers", ("CPUExecutionProvider",))),
        threads=given.get("threads"),
        construction=Construction.in_options(given).given(),
    )
    parcel.put_options(
        CalibrationOptions(
            labels=given.get("labels"),
            mask=given.get("mask"),
            limit=given.get("limit"),
            held_out=given.get("held_out", 0.0),
            synthetic=given.get("synthetic"),
            seed=given.get("seed", 0),
            constants=tuple(given.get("constants") or ()),
            rename=dict(given.get("inputs") or {}),
            tokenizer=given.get("tokenizer"),
            max_length=given.get("max_length"),
            exclude_bos=given.get("exclude_bos", False),
            processor=given.get("processor"),
            **dict(given.get("image") or {}),
        )
    )
    parcel.put_constants(given.get("constants"))
