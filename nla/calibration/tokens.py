"""Token ids that are fed to a model: whether it has rows for them, and which of them begin a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column, Rows, Shape
from nla.calibration.derived import kind_of
from nla.calibration.feeds import ArrayFeed
from nla.calibration.masks import Mask
from nla.calibration.processor import Processor
from nla.errors import DataError, UsageError, printable
from nla.site import Input

_SCANNED_VALUES = 1 << 22


def ids_feed(feeds: Sequence[ArrayFeed], inputs: Sequence[Input]) -> ArrayFeed | None:
    """The feed of token ids, by its input's usual name; None where there is none."""
    named = {i.name for i in inputs if kind_of(i) == "ids"}
    found = [feed for feed in feeds if feed.name in named]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class TokenLimits:
    """What the model has rows for."""

    feed: ArrayFeed
    processor: Processor

    def check(self, fed: Mapping[str, NDArray[Any]], rows: Rows) -> None:
        """DataError where an id or a position of this batch lies beyond the model's tables."""
        ids, vocabulary, positions = fed[self.feed.name], self.processor.vocabulary, self.processor.positions
        what = f"array {printable(self.feed.array)!r}"
        if vocabulary is not None and ids.size and (ids.min() < 0 or ids.max() >= vocabulary):
            bad = np.argwhere((ids < 0) | (ids >= vocabulary))[0]
            sample = int(rows[bad[0]]) if len(rows) == len(ids) else int(rows[0])
            raise DataError(
                f"{what}: sample {sample} holds the token id {ids[tuple(bad)]}, and the model's vocabulary has "
                f"{vocabulary} (0 to {vocabulary - 1}): are the ids of another tokenizer? For padding, use any id of "
                "the vocabulary and a mask"
            )
        if positions is not None and ids.ndim and ids.shape[-1] > positions:
            raise DataError(
                f"{what}: sequences of {ids.shape[-1]} tokens, and the model has {positions} positions: cut them "
                "(for text, --max-length)"
            )


@dataclass(frozen=True)
class WithoutFirst:
    """A mask [n, T] in which the first position that counts does not, where it holds the token `bos`."""

    ids: Column
    bos: int
    mask: Column | None
    """None: every position counts."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return np.dtype(np.bool_)

    @property
    def shape(self) -> Shape:
        """As in Column."""
        return self.ids.shape

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column; DataError where the mask has another shape than the ids."""
        ids = self.ids.read(rows)
        counted = np.ones(ids.shape, np.bool_) if self.mask is None else self.mask.read(rows) != 0
        if counted.shape != ids.shape:
            raise DataError(
                f"the mask has the shape {list(counted.shape)} and the token ids {list(ids.shape)}: "
                "the first token cannot be found"
            )
        first = counted.argmax(axis=1)
        at = np.arange(len(ids))
        counted[at[ids[at, first] == self.bos], first[ids[at, first] == self.bos]] = False
        return counted


def without_first(feed: ArrayFeed | None, processor: Processor | None, mask: Mask | None) -> tuple[Mask, str]:
    """The mask without the token that begins each sequence, and a sentence about it.

    Raises UsageError where it is not known which token that is, or where the ids are.
    """
    if feed is None or len(feed.column.shape) != 2:
        raise UsageError("--exclude-bos: the model has no input of token ids [batch, sequence] (input_ids)")
    if processor is None or processor.bos is None:
        where = (
            "give the model's folder with --processor"
            if processor is None
            else f"{processor.shown} names no bos_token_id; mask the first position in the data instead"
        )
        raise UsageError(f"--exclude-bos: the token that begins a sequence is not known: {where}")
    column = WithoutFirst(feed.column, processor.bos, None if mask is None else mask.column)
    what = "the first tokens" if mask is None else f"{mask.what} and the first tokens"
    note = (
        f"the first token of a sample is not counted where its id is {processor.bos}, which begins sequences"
    )
    return Mask(what, column), note


def padding_note(feed: ArrayFeed, processor: Processor | None, samples: int) -> list[str]:
    """A sentence where the ids hold that of padding and no mask says what that means; the data is read for it."""
    padding = None if processor is None else processor.padding
    if padding is None or feed.lone or len(feed.column.shape) != 2:
        return []
    step = max(1, _SCANNED_VALUES // max(1, feed.column.shape[1] or 1))
    for first in range(0, samples, step):
        if (feed.column.read(np.arange(first, min(samples, first + step))) == padding).any():
            return [
                f"array {printable(feed.array)!r} holds the id {padding}, the model's pad_token_id, and no mask is "
                "given: these positions are attended to and counted like any other; if they are padding, put an "
                "attention_mask beside the ids, or give --mask"
            ]
    return []
