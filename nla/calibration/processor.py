"""What a checkpoint's folder in Hugging Face layout says of its inputs: tokens, positions, pixels.

Only defaults: what the user says wins. The files are a stranger's, small JSON, read in the supervised child.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nla.calibration.files import read_text
from nla.calibration.options import CalibrationOptions
from nla.errors import DataError, UsageError, printable

TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor_config.json"
_CONFIG_BYTES = 1 << 22
_TOKENIZER_BYTES = 64 << 20
_MOST_POSITIONS = 4096
"""Tokens of a text where only config.json says how many there may be: attention takes the square of it."""
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx")
_LEARNED = frozenset({"gpt2", "opt", "bert", "distilbert"})
"""Architectures whose positions are rows of a table, beyond which there are none."""
_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Likewise, but the table begins with rows for the ids up to that of padding."""
_RESAMPLING: dict[float, str] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""


@dataclass(frozen=True)
class Processor:
    """How the data of a model is prepared, as far as its folder says."""

    folder: Path
    tokenizer: Path | None = None
    vocabulary: int | None = None
    """Token ids are below this."""
    longest: int | None = None
    """Tokens that a text is cut after by default."""
    positions: int | None = None
    """No sequence may be longer; None: longer ones run."""
    bos: int | None = None
    """The id of the token that begins a sequence."""
    padding: int | None = None
    image: Mapping[str, Any] = field(default_factory=dict)
    """Of preprocessor_config.json."""

    @property
    def shown(self) -> str:
        """The folder, as sentences name it."""
        return printable(self.folder)

    def with_images(
        self, options: CalibrationOptions, sized: bool
    ) -> tuple[CalibrationOptions, tuple[str, ...]]:
        """The options, completed by preprocessor_config.json, and sentences; `sized`: the model fixes the size.

        Raises DataError where the file holds what no image can be prepared by.
        """
        where = f"{self.shown}/{PREPROCESSOR}"
        try:
            found, notes = _image_options(self.image)
            if sized:
                found.pop("resize", None)
            if options.preprocesses:
                found = {name: value for name, value in found.items() if name not in ("scale", "mean", "std")}
            new = {name: value for name, value in found.items() if getattr(options, name) is None}
            completed = replace(options, **new)
        except (UsageError, TypeError, ValueError) as error:
            raise DataError(f"{where}: {error}; say it with --resize, --scale, --mean, --std") from None
        if not new:
            return options, ()
        told = ", ".join(f"{name} {_said(value)}" for name, value in new.items())
        return completed, (f"images are prepared as {where} says: {told}", *notes)


def read_processor(folder: str | os.PathLike[str]) -> Processor:
    """What the files in `folder` say; nothing where there are none. DataError where one is no JSON object."""
    where = Path(folder)
    if not os.path.isdir(where):
        raise DataError(f"{printable(where)}: no folder that holds {TOKENIZER} or {PREPROCESSOR}")
    config = _object(where / "config.json")
    tokenizer = where / TOKENIZER
    padding = _natural(config.get("pad_token_id"))
    longest = next((n for key in _LENGTHS if (n := _natural(config.get(key)))), None)
    model_type = str(config.get("model_type"))
    if longest is not None and model_type in _AFTER_PADDING:
        longest = max(1, longest - (1 if padding is None else padding) - 1)
    return Processor(
        where,
        tokenizer if os.path.exists(tokenizer) else None,
        _natural(config.get("vocab_size")) or None,
        None if longest is None else min(longest, _MOST_POSITIONS),
        longest if model_type in _LEARNED | _AFTER_PADDING else None,
        _first_token(where, config),
        padding,
        _object(where / PREPROCESSOR),
    )


def _first_token(folder: Path, config: Mapping[str, Any]) -> int | None:
    """The id of the beginning of a sequence: as a number, else by its name in the tokeniser's files."""
    for source in (config, _object(folder / "generation_config.json")):
        if (found := _natural(source.get("bos_token_id"))) is not None:
            return found
    named = _object(folder / "tokenizer_config.json")
    for key in ("bos_token", "cls_token"):
        token = named.get(key)
        text = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(text, str) and (found := _added(folder, text)) is not None:
            return found
    return None


def _added(folder: Path, text: str) -> int | None:
    """The id of a special token in tokenizer.json."""
    tokens = _object(folder / TOKENIZER, _TOKENIZER_BYTES).get("added_tokens")
    listed = tokens if isinstance(tokens, list) else []
    found = (each.get("id") for each in listed if isinstance(each, dict) and each.get("content") == text)
    return _natural(next(found, None))


def _object(path: Path, limit_bytes: int = _CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file."""
    if not os.path.exists(path):
        return {}
    try:
        found = json.loads(read_text(path, limit_bytes))
    except (ValueError, RecursionError):
        raise DataError(f"{printable(path)}: not valid JSON") from None
    if not isinstance(found, dict):
        raise DataError(f"{printable(path)}: not a JSON object")
    return found


def _natural(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 31 else None


def _image_options(image: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options of images that the file comes to, and what of it is not done."""
    found: dict[str, Any] = {}
    notes = []
    if image.get("do_resize", "size" in image):
        size, whole = _size(image)
        if size is not None:
            found["resize"] = size
            found["resample"] = _RESAMPLING.get(_number(image.get("resample", 2), "resample"))
        if not whole:
            notes.append(
                "each image is resized as a whole: no side is kept in proportion and nothing is cropped"
            )
    if image.get("do_rescale", bool(image)):
        found["scale"] = _number(image.get("rescale_factor", 1 / 255), "rescale_factor")
    if image.get("do_normalize", "image_mean" in image or "image_std" in image):
        for key, name in (("image_mean", "mean"), ("image_std", "std")):
            if image.get(key) is not None:
                found[name] = _numbers(image[key], key)
    if image.get("do_flip_channel_order"):
        found["channels"] = "bgr"
    return {name: value for name, value in found.items() if value is not None}, notes


def _size(image: Mapping[str, Any]) -> tuple[tuple[int, int] | None, bool]:
    """(height, width) of what the model gets, and whether the file asks for no cropping and no proportion."""
    cropped = bool(image.get("do_center_crop") and image.get("crop_size"))
    size = image.get("crop_size") if cropped else image.get("size")
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        height, width = size.get("height", edge), size.get("width", edge)
        whole = not cropped and "shortest_edge" not in size
    else:
        height, width, whole = size, size, not cropped and "crop_pct" not in image
    if height is None or width is None:
        return None, True
    sides = _natural(height), _natural(width)
    if sides[0] is None or sides[1] is None:
        raise ValueError(f"a size of {printable(size, 60)}, expected whole numbers")
    return (sides[0], sides[1]), whole


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {printable(value, 60)}, expected a number")
    return float(value)


def _numbers(value: object, name: str) -> float | tuple[float, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return tuple(_number(each, name) for each in value)
    return _number(value, name)


def _said(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return f"[{', '.join(_said(each) for each in value)}]"
    return str(value)
