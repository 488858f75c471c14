"""The verbs that set runs side by side: diff, compare."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from nla.errors import UsageError, one_line, printable
from nla.lifecycle.results import Inspection
from nla.runs.reading import is_recording
from nla.tracking.columns import LARGEST_BYTES, Columns, given_columns, read_columns, unnamed
from nla.tracking.comparison import comparison, renamed
from nla.tracking.difference import difference
from nla.verbs.inspecting import replayed
from nla.verbs.parcel import StrPath
from nla.verbs.replaying import ReplayOptions, check_known
from nla.verbs.runs import RunLike, listed, open_runs, reading
from nla.verbs.verifying import Data

if TYPE_CHECKING:
    from nla.tracking.comparison import Comparison
    from nla.tracking.difference import Difference


def diff(
    before: RunLike,
    after: RunLike,
    data: Data = None,
    *,
    site: str | Sequence[str] = (),
    state: str | Sequence[str] = (),
    common_only: bool = False,
    different_data: bool = False,
    quantised: bool = False,
    **options: Unpack[ReplayOptions],
) -> Difference:
    """What became of each neuron between two runs of one network: what died, revived, saturated or woke.

    Neurons are matched by site and index. Where the second run is the fp16 or int8 twin of the first, it is said
    which neurons quantisation killed, clipped or made constant.

    Args:
        before: a recording, an inspection (or its JSON document, with rows); with `data`, also a checkpoint.
        after: likewise.
        data: calibration data for checkpoints, as `inspect` takes it, and so are the `options`.
        site: names of sites in the first run; all where empty.
        state: rows only of neurons that are, or were, in one of these states.
        common_only: leave out sites without a counterpart that fits, instead of refusing.
        different_data: compare runs on different data too.
        quantised: the second is a quantised twin of the first, whether or not that can be seen.

    Raises:
        UsageError: the runs are of different architectures or data, or there is no such site.
        RecordingError: a file that is no run, or runs judged by different criteria.
        ModelError, DataError: with `data`: as `inspect`.
    """
    check_known("diff", options)
    runs = [_replayed(run, data, options) for run in listed((before, after))]
    one, other = open_runs(runs, options.get("criteria"), rows=True, **reading(options))
    return difference(
        one,
        other,
        site=_names(site),
        state=_names(state),
        common_only=common_only,
        different_data=different_data,
        quantised=quantised,
    )


def compare(
    runs: Sequence[RunLike],
    data: Data = None,
    *,
    name: str | Sequence[str] = (),
    column: Mapping[str, Sequence[object] | str] | None = None,
    columns: StrPath | None = None,
    **options: Unpack[ReplayOptions],
) -> Comparison:
    """Experiments side by side: states, effective rank and capacity of every layer, beside what you know of them.

    No architecture needs to match: layers are set beside each other by their number from the input.

    Args:
        runs: recordings, inspections or their JSON documents; with `data`, also checkpoints.
        data: calibration data for checkpoints, as `inspect` takes it, and so are the `options`.
        name: what the runs are called, in their order; as their files where empty.
        column: by name a value for each run, in their order, such as accuracies.
        columns: a CSV table with a head, whose first column names the runs.

    Raises:
        UsageError: not one name or value for each run; a table that names none of them.
        RecordingError: a file that is no run, or runs judged by different criteria.
        ModelError, DataError: with `data`: as `inspect`.
    """
    check_known("compare", options)
    replays = [_replayed(run, data, options) for run in listed(runs)]
    opened = renamed(
        open_runs(replays, options.get("criteria"), rows=False, **reading(options)), _names(name)
    )
    labels = [run.label for run in opened]
    given: Columns = {}
    notes: list[str] = []
    if columns is not None:
        text, where = _text(columns), printable(columns)
        given |= read_columns(text, labels, where)
        silent = unnamed(text, labels)
        if silent:
            notes.append(f"{where} says nothing of {', '.join(map(printable, silent))}")
    for title, values in given_columns(column or {}, len(opened)).items():
        if title in given:
            raise UsageError(
                f"column {printable(title)!r} is given twice, as values and in {printable(columns)}"
            )
        given[title] = values
    return comparison(opened, columns=given, notes=notes)


def _replayed(run: RunLike, data: Data, options: ReplayOptions) -> RunLike:
    """The inspection of a checkpoint where there is data; what is a run already, as it is."""
    if isinstance(run, Inspection) or (data is None and options.get("synthetic") is None):
        return run
    if os.path.isfile(run) and (os.fspath(run).lower().endswith(".json") or is_recording(run)):
        return run
    return replayed(run, data, **options)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def _text(path: StrPath) -> str:
    """A small file of text. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise UsageError(
                f"{printable(path)} is larger than {LARGEST_BYTES:,} bytes: expected a small CSV table"
            )
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error, 100)
        raise UsageError(f"{printable(path)}: {why.lower()}; expected a CSV table in UTF-8") from None
