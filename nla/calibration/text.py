"""Text, one sample a line, through a `tokenizer.json`."""

from __future__ import annotations

import json
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import labels
from nla.calibration.columns import Column, Handle, Rows, Shape
from nla.calibration.derived import kind_of
from nla.calibration.files import blaming, open_regular
from nla.calibration.processor import TOKENIZER
from nla.calibration.source import Request, Source
from nla.errors import DataError, MissingExtraError, UsageError, printable
from nla.site import Input

_SUFFIXES = (".txt", ".jsonl")
DEFAULT_MAX_LENGTH = 512
"""Tokens a sample where neither the model, its files, nor --max-length say otherwise: BERT's."""
_LARGEST_TOKENIZER_BYTES = 64 << 20
_LONGEST_LINE_BYTES = 1 << 22
_PADDING = ("[PAD]", "<pad>", "<|endoftext|>", "</s>", "<|padding|>")
_KINDS = ("ids", "mask", "segments", "positions")


@dataclass
class Lines:
    """The samples of a text file, tokenised as they are read and kept for the batch at hand."""

    handle: Handle
    spans: NDArray[np.int64]
    """[n, 2] first byte and length of each sample's line."""
    in_json: bool
    tokenizer: Any
    padding: int
    length: int | None
    """Fixed length in tokens; None: as long as the longest of the batch."""
    recent: threading.local = field(default_factory=threading.local)

    def text(self, row: int) -> str:
        """The text of one sample."""
        return _record(self.line(row), self.in_json, f"{self.handle.name}: sample {row}")[0]

    def line(self, row: int) -> bytes:
        """The line as it is in the file."""
        first, count = self.spans[row].tolist()
        return self.handle.read(count, first)

    def tokens(self, rows: Rows) -> list[tuple[list[int], list[int]]]:
        """(token ids, segment ids) of each sample, without padding; each thread keeps its last batch."""
        key = rows.tobytes()
        if getattr(self.recent, "key", None) != key:
            with blaming(f"{self.handle.name}: cannot be tokenised"):
                found = self.tokenizer.encode_batch([self.text(row) for row in rows.tolist()])
            self.recent.key, self.recent.tokens = key, [(e.ids, e.type_ids) for e in found]
        recent: list[tuple[list[int], list[int]]] = self.recent.tokens
        return recent

    def padded(self, rows: Rows, kind: str) -> NDArray[np.int64]:
        """int64 [b, T]: ids, mask (1 where there is a token), segments or positions."""
        tokens = self.tokens(rows)
        length = self.length or max(1, *(len(ids) for ids, _ in tokens), 1)
        out = np.full((len(rows), length), self.padding if kind == "ids" else 0, np.int64)
        for at, (ids, segments) in enumerate(tokens):
            values: Any = {"ids": ids, "segments": segments, "mask": 1, "positions": range(len(ids))}[kind]
            out[at, : len(ids)] = values
        return out


@dataclass(frozen=True)
class TokenColumn:
    """One of the arrays that the tokeniser gives."""

    lines: Lines
    kind: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return np.dtype(np.int64)

    @property
    def shape(self) -> Shape:
        """As in Column."""
        return (len(self.lines.spans), self.lines.length)

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        return self.lines.padded(rows, self.kind)


class Text:
    """`.txt`, a sample a line, and `.jsonl` with `text` and perhaps `label`."""

    kind = "text"

    def recognises(self, path: Path, head: bytes) -> bool:
        """By its suffix."""
        return bool(head) and path.suffix.lower() in _SUFFIXES

    def open(self, path: Path, request: Request) -> Source:
        """Ids, mask, segments and positions for the model's inputs so named; blank lines are left out."""
        handle = open_regular(path)
        ids = _ids_input(request.inputs)
        length = None if ids is None or ids.shape is None or len(ids.shape) != 2 else ids.shape[1]
        fixed = length if isinstance(length, int) and length > 0 else None
        tokenizer, padding, identity = _tokenizer(request)
        longest = _longest(request, tokenizer, fixed)
        in_json = path.suffix.lower() == ".jsonl"
        lines = Lines(handle, _spans(handle), in_json, tokenizer, padding, fixed)
        feeds = {i.name: kind for i in request.inputs if (kind := kind_of(i)) is not None}
        if ids is not None:
            feeds[ids.name] = "ids"
        wanted = {"ids", "mask", *feeds.values(), *request.options.rename.values()}
        columns: dict[str, Column] = {kind: TokenColumn(lines, kind) for kind in _KINDS if kind in wanted}
        return Source(
            self.kind,
            columns,
            feeds=feeds,
            labels=_labels(lines) if in_json else None,
            mask="mask",
            account=(*_tokenised_by(request), *_account(lines, longest, "mask" in feeds.values())),
            fingerprint=_fingerprint(lines, identity, longest),
        )


def _ids_input(inputs: Sequence[Input]) -> Input | None:
    """The input of token ids: by its name, else the only integer input of two axes that is nothing else."""
    named = [i for i in inputs if kind_of(i) == "ids"]
    integers = [
        i for i in inputs if i.dtype in ("int32", "int64") and kind_of(i) is None and len(i.shape or ()) == 2
    ]
    found = named or integers
    return found[0] if len(found) == 1 else None


def _tokenizer(request: Request) -> tuple[Any, int, bytes]:
    """The tokeniser, which never pads, its padding id, and the bytes of its file."""
    path = _tokenizer_path(request)
    try:
        import tokenizers
    except ImportError:
        raise MissingExtraError("reading text", "text") from None
    handle = open_regular(path)
    if handle.size > _LARGEST_TOKENIZER_BYTES:
        raise DataError(
            f"{handle.name}: {handle.size} bytes; a tokenizer has at most {_LARGEST_TOKENIZER_BYTES}"
        )
    content = handle.read(handle.size, 0)
    with blaming(f"{handle.name}: not a readable tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        declared = tokenizer.padding
        tokenizer.no_padding()
        known = [tokenizer.token_to_id(token) for token in _PADDING]
    padding = declared["pad_id"] if declared else next((number for number in known if number is not None), 0)
    processor = request.processor  # some models tell positions by where the ids are not that of padding
    if processor is not None and processor.padding is not None:
        padding = processor.padding
    return tokenizer, int(padding), content


def _tokenizer_path(request: Request) -> Path:
    """The file that the user names, else the one in the checkpoint's folder. Raises UsageError."""
    given, processor = request.options.tokenizer, request.processor
    if given is not None:
        path = Path(given)
        return path / TOKENIZER if path.is_dir() else path
    if processor is None:
        raise UsageError("text needs --tokenizer: the model's tokenizer.json")
    if processor.tokenizer is None:
        raise UsageError(
            f"text needs --tokenizer: {processor.shown} holds no {TOKENIZER} (transformers writes one with "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…))"
        )
    return processor.tokenizer


def _tokenised_by(request: Request) -> tuple[str, ...]:
    """A sentence about a tokeniser that nobody named."""
    if request.options.tokenizer is not None:
        return ()
    return (f"text is tokenised with {printable(_tokenizer_path(request))}",)


def _longest(request: Request, tokenizer: Any, fixed: int | None) -> int:
    """Tokens after which a text is cut: as asked for, else by tokeniser, config, habit; the tokeniser is told.

    Raises UsageError where more are asked for than the model has positions.
    """
    asked, processor = request.options.max_length, request.processor
    positions = None if processor is None else processor.positions
    if asked is not None and positions is not None and asked > positions:
        raise UsageError(
            f"max-length {asked}: the model has {positions} positions; at most so many tokens fit"
        )
    declared = tokenizer.truncation or {}
    by_config = None if processor is None else processor.longest
    usual = min(filter(None, (declared.get("max_length"), by_config)), default=DEFAULT_MAX_LENGTH)
    longest = min(fixed or 1 << 30, asked or fixed or usual)
    kept = {name: declared[name] for name in ("stride", "strategy", "direction") if name in declared}
    with blaming("the tokenizer's truncation"):
        tokenizer.enable_truncation(max_length=longest, **{**kept, "stride": 0})
    return longest


def _spans(handle: Handle) -> NDArray[np.int64]:
    """int64 [n, 2] first byte and length of each line that is not blank; DataError for an endless line."""
    found, position, rest = array("q"), 0, b""
    for offset in range(0, handle.size, 1 << 20):
        block = rest + handle.read(1 << 20, offset)
        *whole, rest = block.split(b"\n")
        for line in whole:
            if line.strip():
                found.extend((position, len(line)))
            position += len(line) + 1
        if len(rest) > _LONGEST_LINE_BYTES:
            raise DataError(
                f"{handle.name}: a line is longer than {_LONGEST_LINE_BYTES} bytes; one sample a line"
            )
    if rest.strip():
        found.extend((position, len(rest)))
    return np.array(found, np.int64).reshape(-1, 2)


def _record(line: bytes, in_json: bool, what: str) -> tuple[str, Any]:
    """Text and label (None without) of a line."""
    text = line.decode("utf-8", "replace").strip()
    if not in_json:
        return text.removeprefix("\ufeff"), None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{what}: not a line of JSON") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DataError(f"{what}: not an object with a string `text`")
    label = record.get("label")
    if label is not None and not isinstance(label, str | int):
        raise DataError(f"{what}: the label {printable(label, 40)} is neither a string nor an integer")
    return record["text"], label


def _labels(lines: Lines) -> labels.Labels | None:
    """The field `label` of every line; DataError where only some lines have it."""
    found = [
        _record(lines.line(i), True, f"{lines.handle.name}: sample {i}")[1] for i in range(len(lines.spans))
    ]
    missing = sum(label is None for label in found)
    if missing == len(found):
        return None
    if missing:
        raise DataError(f"{lines.handle.name}: {missing} of {len(found)} samples have no `label`")
    whole = all(isinstance(label, int) for label in found)
    values = np.array(found, np.int64) if whole else np.array([str(label) for label in found], np.str_)
    return labels.from_array(values, lines.handle.name)[0]


def _account(lines: Lines, longest: int, masked: bool) -> tuple[str, ...]:
    padded = f"padded to {lines.length} tokens" if lines.length else "padded to the longest of each batch"
    notes = [f"each line that is not blank is a sample, cut after {longest} tokens and {padded}"]
    if not masked:
        notes.append(
            "the model takes no attention mask: padding is not counted, but the model may attend to it"
        )
    return tuple(notes)


def _fingerprint(
    lines: Lines, identity: bytes, longest: int
) -> Callable[[Callable[[bytes], None], int], None]:
    def fingerprint(update: Callable[[bytes], None], samples: int) -> None:
        update(f"text {longest} {lines.length} {len(identity)}\0".encode() + identity)
        for row in range(samples):
            update(lines.line(row) + b"\n")

    return fingerprint
