"""Opening calibration data: from what the user names to batches that the model takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import labels as labels_module
from nla.calibration import masks, registry
from nla.calibration.arrays import open_arrays
from nla.calibration.calibration import Calibration, Opened
from nla.calibration.columns import Column, MemoryColumn, read_whole
from nla.calibration.derived import derive
from nla.calibration.feeds import ArrayFeed, plan_feed
from nla.calibration.labels import Labels
from nla.calibration.masks import Mask
from nla.calibration.matching import AUTOMATIC_MASK, Matches, match
from nla.calibration.options import CalibrationOptions
from nla.calibration.processor import Processor, read_processor
from nla.calibration.source import Request, Source
from nla.calibration.synthetic import open_synthetic
from nla.calibration.tokens import TokenLimits, ids_feed, padding_note, without_first
from nla.errors import DataError, UsageError, printable
from nla.site import Input

Data = str | os.PathLike[str] | NDArray[Any] | Mapping[str, Any] | None
_NONE = "none"


def open_calibration(data: Data, inputs: Sequence[Input], options: CalibrationOptions) -> Calibration:
    """The samples in `data` as the model's `inputs` want them: after the limit and the shard, not yet split.

    `data` is a file, a folder, an array, a mapping of arrays, or None with `options.synthetic`. Of files
    only the headers are read. Raises DataError where data, labels or mask cannot be read or do not fit the
    model, UsageError for options that contradict each other, MissingExtraError where a format needs an
    optional library.
    """
    needed = tuple(i for i in inputs if i.name not in options.constants)
    processor = None if options.processor is None else read_processor(options.processor)
    prepared: tuple[str, ...] = ()
    if isinstance(data, str | os.PathLike):
        options = options.beside(Path(data))
        options, prepared = _image_defaults(Path(data), needed, options, processor)
    source = _source(data, Request(needed, options, processor))
    matches = match(source, needed, options)
    feeds = _feeds(source, needed, matches, options)
    samples = _samples(feeds)
    found_labels, labels_from, label_notes = _labels(source, matches, options, samples)
    mask, mask_notes = _mask(source, matches, options, samples)
    feeds, derived_names = _mask_as_input(feeds, matches, needed, mask, options)
    derived = tuple(derive(derived_names, needed, mask is not None))
    ids = ids_feed(feeds, needed)
    if ids is not None and mask is None and options.mask is None:
        mask_notes += padding_note(ids, processor, samples)
    if options.exclude_bos:
        mask, note = without_first(ids, processor, mask)
        mask_notes.append(note)
    limited = samples if options.limit is None else min(samples, options.limit)
    notes = [note for feed in feeds for note in feed.account] + [made.note for made in derived]
    opened = Opened(
        path=printable(os.fspath(data), 4096) if isinstance(data, str | os.PathLike) else None,
        source=source,
        feeds=feeds,
        derived=derived,
        labels=found_labels,
        labels_from=labels_from,
        mask=mask,
        samples=limited,
        options=options,
        tokens=None if ids is None or processor is None else TokenLimits(ids, processor),
        account=(*prepared, *source.account, *matches.account, *notes, *label_notes, *mask_notes),
    )
    calibration = Calibration(opened, np.arange(limited, dtype=np.int64))
    return calibration if options.shard is None else calibration.shard(*options.shard)


def _image_defaults(
    data: Path, inputs: Sequence[Input], options: CalibrationOptions, processor: Processor | None
) -> tuple[CalibrationOptions, tuple[str, ...]]:
    """The options, and sentences, with what the checkpoint's folder says of images where the data are such."""
    if processor is None or not processor.image or registry.reader_of(data).kind != "images":
        return options, ()
    shapes = [i.shape for i in inputs if i.shape is not None and len(i.shape) == 4]
    sized = any(sum(isinstance(size, int) for size in shape[1:]) == 3 for shape in shapes)
    return processor.with_images(options, sized)


def _source(data: Data, request: Request) -> Source:
    if request.options.synthetic is not None:
        if data is not None:
            raise UsageError("both data and synthetic samples are asked for: give one of them")
        return open_synthetic(request)
    if data is None:
        raise UsageError("no calibration data: give --data, or ask for random samples with --synthetic N")
    if isinstance(data, str | os.PathLike):
        return registry.open_path(Path(data), request)
    return open_arrays(data)


def _feeds(
    source: Source, inputs: Sequence[Input], matches: Matches, options: CalibrationOptions
) -> tuple[ArrayFeed, ...]:
    feeds = tuple(
        plan_feed(i, matches.feeds[i.name], source.arrays[matches.feeds[i.name]], options)
        for i in inputs
        if i.name in matches.feeds
    )
    if options.preprocesses and sum(feed.scale is not None for feed in feeds) != 1:
        names = ", ".join(printable(f.name) for f in feeds if f.scale is not None) or "none"
        raise UsageError(f"scale, mean and std apply to a single float input; this model is fed {names}")
    counts = {feed.samples for feed in feeds if not feed.lone}
    if len(counts) == 1 and counts != {1}:
        feeds = tuple(feed.repeated(*counts) if feed.lone else feed for feed in feeds)
    return feeds


def _samples(feeds: Sequence[ArrayFeed]) -> int:
    counts = {feed.samples for feed in feeds}
    if len(counts) != 1:
        told = ", ".join(f"{printable(f.array)} {f.samples}" for f in feeds)
        raise DataError(f"the arrays hold different numbers of samples: {told}")
    (samples,) = counts
    if samples == 0:
        raise DataError(f"array {printable(feeds[0].array)!r} holds no samples; at least one is needed")
    return samples


def _labels(
    source: Source, matches: Matches, options: CalibrationOptions, samples: int
) -> tuple[Labels | None, str | None, list[str]]:
    """Labels, where they come from, and sentences: those asked for, else those that the data holds."""
    asked = options.labels
    if isinstance(asked, str) and asked == _NONE and _NONE not in source.arrays:
        return None, None, []
    if asked is not None:
        column, what = _column(asked, source, "labels", labels_module.NAMES)
        found, notes = _checked_labels(column, what, samples)
        return found, what, notes
    if matches.labels is None:
        told = [] if source.labels is None else [f"the data's own labels: {len(source.labels.names)} classes"]
        return source.labels, None if source.labels is None else "the data", told
    what = f"array {printable(matches.labels)!r}"
    try:
        found, notes = _checked_labels(source.arrays[matches.labels], what, samples)
    except DataError as error:  # nobody said that these are labels
        return None, None, [f"not used as labels: {error}"]
    return found, what, [f"{what} is taken as labels: {len(found.names)} classes", *notes]


def _checked_labels(column: Column, what: str, samples: int) -> tuple[Labels, list[str]]:
    found, note = labels_module.from_array(read_whole(column), what)
    if len(found.codes) != samples:
        raise DataError(f"{what}: {len(found.codes)} labels for {samples} samples; each needs one")
    return found, [note] if note else []


def _column(
    asked: str | os.PathLike[str] | NDArray[Any], source: Source, purpose: str, usual: Sequence[str]
) -> tuple[Column, str]:
    """The array that an option means: one in memory, one of the data's by name, or one in a file."""
    if not isinstance(asked, str | os.PathLike):
        array = np.asarray(asked)
        return open_arrays(array).arrays["array"], f"the {purpose} given"
    if isinstance(asked, str) and asked in source.refused:
        raise DataError(f"array {printable(asked)!r} cannot be used for {purpose}: {source.refused[asked]}")
    if isinstance(asked, str) and asked in source.arrays:
        return source.arrays[asked], f"array {printable(asked)!r}"
    path = Path(asked)
    what = f"{purpose} {printable(path)}"
    if purpose == "labels" and path.suffix.lower() in labels_module.TEXT_SUFFIXES:
        return MemoryColumn(labels_module.read_lines(path)), what
    if not os.path.exists(path):
        known = ", ".join(map(printable, list(source.arrays)[:12]))
        raise DataError(f"{what}: neither a file nor an array of the data, which has {known}")
    arrays = registry.open_path(path, Request((), CalibrationOptions())).arrays
    chosen = [name for name in arrays if name in usual] if len(arrays) > 1 else list(arrays)
    if len(chosen) != 1:
        raise DataError(f"{what}: which of its arrays? {', '.join(map(printable, list(arrays)[:12]))}")
    return arrays[chosen[0]], what


def _mask(
    source: Source, matches: Matches, options: CalibrationOptions, samples: int
) -> tuple[Mask | None, list[str]]:
    asked = options.mask
    if isinstance(asked, str) and asked == _NONE and _NONE not in source.arrays:
        return None, []
    if asked is not None:
        if isinstance(asked, str) and asked in matches.feeds:
            asked = matches.feeds[asked]
        column, what = _column(asked, source, "mask", ("mask", "masks", AUTOMATIC_MASK))
        return masks.check(Mask(what, column), samples), []
    name = source.mask or matches.feeds.get(AUTOMATIC_MASK, AUTOMATIC_MASK)
    if name not in source.arrays:
        return None, []
    what = f"array {printable(name)!r}"
    note = f"{what} is taken as the mask: only its ones are counted (--mask none turns it off)"
    return masks.check(Mask(what, source.arrays[name]), samples), [note]


def _mask_as_input(
    feeds: tuple[ArrayFeed, ...],
    matches: Matches,
    inputs: Sequence[Input],
    mask: Mask | None,
    options: CalibrationOptions,
) -> tuple[tuple[ArrayFeed, ...], tuple[str, ...]]:
    """The feeds, with the mask also fed as attention_mask where the data has none of its own."""
    if mask is None or AUTOMATIC_MASK not in matches.derived:
        return feeds, matches.derived
    declared = next(i for i in inputs if i.name == AUTOMATIC_MASK)
    fed = plan_feed(declared, "mask", mask.column, replace(options, scale=None, mean=None, std=None))
    fed = replace(fed, account=(*fed.account, f"{mask.what} is also fed as the input {AUTOMATIC_MASK!r}"))
    return (*feeds, fed), tuple(name for name in matches.derived if name != AUTOMATIC_MASK)
