"""Whether runs saw the same samples: else a change may be the data's, and not the network's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nla.errors import UsageError, printable
from nla.runs.run import Run


def same_data(one: Run, other: Run) -> bool:
    """Whether both runs saw the same samples, as far as their digests and settings tell."""
    return _identity(one) == _identity(other)


def check_data(runs: Sequence[Run], different_data: bool) -> tuple[str, ...]:
    """Notes on runs whose data differ from the first one's.

    Raises:
        UsageError: the data differ, and `different_data` does not allow it.
    """
    other = next((run for run in runs[1:] if not same_data(runs[0], run)), None)
    if other is None:
        return ()
    differs = (
        f"{printable(other.label)} saw other data ({_described(other)}) than {printable(runs[0].label)} "
        f"({_described(runs[0])})"
    )
    if not different_data:
        raise UsageError(
            f"{differs}: inspect all on the same data, or allow it with --different-data (different_data=True)"
        )
    return (f"{differs}: what changed may be the data's doing",)


def _identity(run: Run) -> tuple[Any, ...]:
    """What decides which samples a run saw; it compares, whether or not it can be hashed.

    The digest is the same for every shard of the data and both parts of a split. Shards merged to all of the data are
    the data.
    """
    data = run.data
    seen = [data.get(name) or 0 for name in ("samples", "held_out_samples", "left_out")]
    whole = all(isinstance(number, int) for number in seen) and sum(seen) == data.get("samples_in_all")
    return (
        data.get("digest"),
        data.get("samples"),
        data.get("held_out") or 0,
        None if whole else data.get("shard") or None,
        (data.get("synthetic"), data.get("seed")) if data.get("synthetic") else None,
    )


def _described(run: Run) -> str:
    digest = run.data.get("digest")
    short = f"digest {digest[:12]}" if isinstance(digest, str) else "several digests"
    samples = run.data.get("samples")
    return f"{samples:,} samples, {short}" if isinstance(samples, int) else short
