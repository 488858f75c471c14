"""Inputs of transformers that follow from the token ids, where the data does not hold them.

Only what is certain: ones for an attention mask when no padding is known, zeros for the segment of a single
text, 0, 1, 2, … for the positions of unpadded tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.casts import element_type
from nla.errors import DataError, printable
from nla.site import Input

_KINDS = {
    "input_ids": "ids",
    "attention_mask": "mask",
    "input_mask": "mask",
    "token_type_ids": "segments",
    "segment_ids": "segments",
    "position_ids": "positions",
}
DERIVABLE = ("mask", "segments", "positions")

_SENTENCES = {
    "mask": "ones: no padding is known",
    "segments": "zeros: a single segment",
    "positions": "0, 1, 2, …: no padding is known",
}


def kind_of(declared: Input) -> str | None:
    """What the input means by its usual name and rank: ids, mask, segments, positions; None: another."""
    kind = _KINDS.get(declared.name)
    return kind if kind is None or declared.shape is None or len(declared.shape) == 2 else None


@dataclass(frozen=True)
class DerivedFeed:
    """An input [b, T] that is made from the shape of another."""

    name: str
    kind: str
    like: str
    """The fed input [b, T] of token ids."""
    dtype: np.dtype[Any]

    def make(self, fed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The values for the batch whose other inputs are `fed`."""
        shape = fed[self.like].shape
        if self.kind == "positions":
            return np.ascontiguousarray(np.broadcast_to(np.arange(shape[1], dtype=self.dtype), shape))
        return np.full(shape, 1 if self.kind == "mask" else 0, self.dtype)

    @property
    def note(self) -> str:
        """The sentence about it."""
        return f"input {printable(self.name)!r} is not in the data and is made of {_SENTENCES[self.kind]}"


def derive(missing: Sequence[str], inputs: Sequence[Input], padded: bool) -> list[DerivedFeed]:
    """Feeds for the inputs `missing`; DataError where they are not certain.

    `padded`: a mask says that some positions are padding, so that positions and an all-ones mask would be
    wrong.
    """
    tokens = [
        i for i in inputs if i.name not in missing and kind_of(i) in ("ids", None) and _is_token_like(i)
    ]
    made = []
    for declared in (i for i in inputs if i.name in missing):
        kind = kind_of(declared) or ""
        if len(tokens) != 1 or (padded and kind != "segments"):
            why = "padding is known" if padded else "it is not clear which input holds the tokens"
            raise DataError(
                f"no array for the model's input {printable(declared.name)}, and it is not derived: {why}. "
                f"Add it to the data, or give a constant: --set {printable(declared.name)}=1"
            )
        made.append(DerivedFeed(declared.name, kind, tokens[0].name, element_type(declared.dtype)))
    return made


def _is_token_like(declared: Input) -> bool:
    return declared.dtype in ("int64", "int32") and (declared.shape is None or len(declared.shape) == 2)
