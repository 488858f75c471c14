"""What the user says about calibration data, and the small TOML that may lie beside it."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.files import read_text
from nla.errors import DataError, UsageError, one_line, printable

LAYOUTS = ("nchw", "nhwc")
CHANNELS = ("rgb", "bgr", "gray")
RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos")
_TOML_BYTES = 1 << 14

Numbers = float | Sequence[float]


@dataclass(frozen=True, eq=False)
class CalibrationOptions:
    """How calibration data is to be read. Every field is an option of the command line under the same name.

    Pixels (and arrays, where one of the three is given) become (value · scale - mean) / std.
    Raises UsageError for values that make no sense.
    """

    labels: str | os.PathLike[str] | NDArray[Any] | None = None
    """A file, the name of an array in the data, an array [n], or "none": those in the data are ignored."""
    mask: str | os.PathLike[str] | NDArray[Any] | None = None
    """A file, the name of an array or of an input, an array [n, T], or "none". 1: the position counts."""
    limit: int | None = None
    """Only the first so many samples."""
    held_out: float = 0.0
    """Share in [0, 1) of the samples that `Calibration.split` keeps for a second replay."""
    shard: tuple[int, int] | None = None
    """(k, n): only the k-th of n parts, k from 1; sample i belongs to part i mod n + 1."""
    synthetic: int | None = None
    """So many random samples instead of data. Every output then says so."""
    seed: int = 0
    """Of the synthetic samples."""
    constants: tuple[str, ...] = ()
    """Inputs that `--set` gives a value: not data."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Model input -> array in the data, as in `--input input_ids=val64`."""
    cast: bool = True
    """False: an array of another element type than the input's is refused instead of cast."""
    resize: tuple[int, int] | None = None
    """(height, width) to which every image is resized."""
    resample: str | None = None
    """nearest, bilinear (default), bicubic or lanczos: Pillow's filters, with antialiasing."""
    scale: float | None = None
    mean: Numbers | None = None
    """One number, or one per channel."""
    std: Numbers | None = None
    layout: str | None = None
    """nchw or nhwc; otherwise read off the model's input."""
    channels: str | None = None
    """rgb, bgr or gray; otherwise read off the number of channels."""
    tokenizer: str | os.PathLike[str] | None = None
    """A tokenizer.json, or a folder that holds one; needed for text."""
    max_length: int | None = None
    """Longest sequence in tokens; text beyond is cut."""
    processor: str | os.PathLike[str] | None = None
    """A folder in Hugging Face layout that says how data is prepared, where nothing else does."""
    exclude_bos: bool = False
    """The first token of a sequence is not counted where it is the one that begins sequences."""

    def __post_init__(self) -> None:
        _at_least_one(self, "limit", "synthetic", "max_length")
        if not 0 <= self.held_out < 1:
            raise UsageError(f"held-out share {self.held_out}: must be at least 0 and below 1")
        check_shard(self.shard)
        for name, allowed in (("layout", LAYOUTS), ("channels", CHANNELS), ("resample", RESAMPLING)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UsageError(f"{name} {printable(value)!r}: must be one of {', '.join(allowed)}")
        if self.resize is not None and not (
            len(self.resize) == 2 and all(0 < s <= 1 << 14 for s in self.resize)
        ):
            raise UsageError(f"resize {self.resize}: must be height and width, each from 1 to 16384")
        for name in ("scale", "mean", "std"):
            _check_numbers(name, getattr(self, name))

    @property
    def preprocesses(self) -> bool:
        """Whether values are scaled or shifted."""
        return (self.scale, self.mean, self.std) != (None, None, None)

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain values for JSON, and the arrays beside them: what travels to another process."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {k: values.pop(k) for k in ("labels", "mask") if isinstance(values[k], np.ndarray)}
        for name in ("labels", "mask", "tokenizer", "processor"):
            if values.get(name) is not None:
                values[name] = os.fspath(values[name])
        return {k: _plain(v) for k, v in values.items()}, arrays

    @classmethod
    def unpack(cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> CalibrationOptions:
        """The inverse of `pack`."""
        tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **tuples, **arrays})

    def beside(self, data: Path) -> CalibrationOptions:
        """These options, completed by the TOML beside `data` where there is one; what was given here wins."""
        # os.path, because pathlib raises where a folder on the way may not be searched.
        file = data / "nla.toml" if os.path.isdir(data) else Path(f"{os.fspath(data)}.toml")
        if not os.path.exists(file):
            return self
        found = _read_toml(file)
        missing = {k: v for k, v in found.items() if k != "input" and getattr(self, k) is None}
        try:
            return replace(self, **missing, rename={**found.get("input", {}), **self.rename})
        except UsageError as error:
            raise DataError(f"{printable(file)}: {error}") from None


def check_shard(shard: tuple[int, int] | None) -> None:
    """UsageError unless `shard` is None or (k, n) with 1 <= k <= n."""
    if shard is not None and not (len(shard) == 2 and 1 <= shard[0] <= shard[1]):
        raise UsageError(f"shard {'/'.join(map(str, shard))}: must be k/n with 1 <= k <= n, as in 3/16")


def _at_least_one(options: CalibrationOptions, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
            raise UsageError(
                f"{name.replace('_', '-')} {printable(value)}: must be a whole number, at least 1"
            )


def _check_numbers(name: str, value: Numbers | None) -> None:
    for number in numbers(value, 0.0):
        if not math.isfinite(number) or (name == "std" and value is not None and number == 0):
            raise UsageError(f"{name} {printable(value)}: must be finite{' and not zero' * (name == 'std')}")


def numbers(value: Numbers | None, default: float) -> tuple[float, ...]:
    """`value` as a tuple: one number, or one per channel.

    >>> numbers(127, 0.0), numbers(None, 1.0)
    ((127.0,), (1.0,))
    """
    if value is None:
        return (default,)
    return (float(value),) if isinstance(value, int | float | np.number) else tuple(map(float, value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _read_toml(file: Path) -> dict[str, Any]:
    shown = printable(file)
    try:
        found = tomllib.loads(read_text(file, _TOML_BYTES))
    except (ValueError, RecursionError) as error:  # not TOML, or a number of thousands of digits
        raise DataError(f"{shown}: not valid TOML: {one_line(error, 200)}") from None
    for key, value in found.items():
        if key not in _TOML_KEYS:
            raise DataError(f"{shown}: unknown key {printable(key)!r}; known are {', '.join(_TOML_KEYS)}")
        if not _TOML_KEYS[key](value):
            raise DataError(f"{shown}: {key} = {printable(value, 80)} is not of the kind expected")
    if "resize" in found:
        found["resize"] = tuple(found["resize"])
    return found


def _is_int(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_numbers(value: object) -> bool:
    return _is_number(value) or (isinstance(value, list) and len(value) > 0 and all(map(_is_number, value)))


def _is_names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# Only what says how the numbers are to be read. A path in a stranger's TOML would make nla open any file.
_TOML_KEYS = {
    "resize": lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_int, v)),
    "resample": _is_text,
    "scale": _is_number,
    "mean": _is_numbers,
    "std": _is_numbers,
    "layout": _is_text,
    "channels": _is_text,
    "max_length": _is_int,
    "input": _is_names,
}
