"""Element types: which cast is allowed, what it may lose, and how values are scaled on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import check_text
from nla.calibration.options import CalibrationOptions, numbers
from nla.errors import DataError, printable

_SMALL_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def element_type(name: str) -> np.dtype[Any]:
    """NumPy's type for an input's `dtype`; strings travel as objects, bfloat16 as ml_dtypes has it.

    Raises DataError for a type that nla cannot feed.
    """
    if name == "str":
        return np.dtype(object)
    if name in _SMALL_FLOATS:
        import ml_dtypes

        small: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return small
    try:
        return np.dtype(name)
    except TypeError:
        raise DataError(f"the model wants {printable(name)} values, which nla cannot feed") from None


def family(dtype: np.dtype[Any]) -> str:
    """bool, int, float or str; ml_dtypes' floats have no kind of their own."""
    return {"b": "bool", "i": "int", "u": "int", "U": "str", "S": "str", "O": "str"}.get(dtype.kind, "float")


@dataclass(frozen=True)
class Cast:
    """From an array's element type to the model's."""

    target: np.dtype[Any]
    checked: bool = False
    """Values outside the target's range are an error, found batch by batch."""

    def __call__(self, values: NDArray[Any], name: str) -> NDArray[Any]:
        """`values` as `target`; DataError naming `name` where a checked value does not fit."""
        if self.checked and values.size:
            _check_range(values, self.target, name)
        if self.target.kind == "O" and values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        check_text(values, f"array {printable(name)!r}")
        with np.errstate(over="ignore"):  # float32 -> float16: the infinities are counted by the replay
            return values.astype(self.target, copy=False)


def _check_range(values: NDArray[Any], target: np.dtype[Any], name: str) -> None:
    limits = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
    low, high = int(values.min()), int(values.max())
    if low < limits[0] or high > limits[1]:
        worst = low if low < limits[0] else high
        raise DataError(f"array {printable(name)!r} holds {worst}, which does not fit the model's {target}")


def plan_cast(
    name: str, source: np.dtype[Any], wanted: str, options: CalibrationOptions
) -> tuple[Cast, str | None]:
    """The cast from `source` to the input's element type, and a sentence about it (None: nothing is changed).

    Raises DataError where values would change their meaning: a float to an integer, a string to a number.
    """
    target = element_type(wanted)
    pair = (family(source), family(target))
    shown = f"array {printable(name)!r}"
    if source.newbyteorder("=") == target or pair == ("str", "str"):
        return Cast(target), None
    if pair[0] == "float" and pair[1] in ("int", "bool"):
        raise DataError(f"{shown} is {source}, the model wants {wanted}: floats are not cast to {pair[1]}s")
    if "str" in pair:
        raise DataError(f"{shown} holds {source} values, the model wants {wanted}")
    if not options.cast:
        raise DataError(f"{shown} is {source}, the model wants {wanted}, and casts are turned off")
    checked = pair[1] in ("int", "bool") and not np.can_cast(source, target, "safe")
    return Cast(target, checked), _cast_note(shown, source, wanted, options)


def _cast_note(shown: str, source: np.dtype[Any], wanted: str, options: CalibrationOptions) -> str:
    if source == np.uint8 and wanted.startswith(("float", "bfloat")) and not options.preprocesses:
        return (
            f"{shown} is cast from uint8 to {wanted}: values stay 0..255, nothing was scaled "
            f"(--scale, --mean, --std: was the model trained on scaled pixels?)"
        )
    return f"{shown} is cast from {source.newbyteorder('=')} to {wanted}"


def plan_scaling(
    name: str, sample: tuple[int | None, ...], options: CalibrationOptions
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """(x · scale - mean) / std, per channel where mean or std has several numbers.

    Computed in float64 and rounded once, so that `scale = 1/255` and `std = 255` give the same float32.
    `sample` is the shape of one sample as fed; DataError where no axis of it can be the channels.
    """
    scale, mean, std = (
        numbers(v, d) for v, d in ((options.scale, 1.0), (options.mean, 0.0), (options.std, 1.0))
    )
    shape = _channel_shape(name, sample, max(len(mean), len(std)), options.layout)
    offset, divisor = (np.array(v).reshape(shape if len(v) > 1 else ()) for v in (mean, std))

    def scaled(values: NDArray[Any]) -> NDArray[Any]:
        out = values.astype(np.float64)
        for operation, operand in ((np.multiply, scale[0]), (np.subtract, offset), (np.divide, divisor)):
            operation(out, operand, out=out)
        with np.errstate(over="ignore"):
            return out.astype(np.float32)

    return scaled


def _channel_shape(
    name: str, sample: tuple[int | None, ...], count: int, layout: str | None
) -> tuple[int, ...]:
    """Shape under which `count` numbers broadcast over the channels of [b, *sample]."""
    axes = {"nchw": (0,), "nhwc": (len(sample) - 1,), None: (0, len(sample) - 1)}[layout]
    for axis in axes if sample else ():
        if count > 1 and sample[axis] == count:
            return (count,) + (1,) * (len(sample) - 1 - axis)
    if count == 1:
        return ()
    raise DataError(
        f"mean and std have {count} numbers, but no channel axis of {printable(name)!r} {list(sample)} has"
    )


def scaling_note(name: str, options: CalibrationOptions) -> str:
    """The sentence about `plan_scaling`."""
    parts = [f"{k} {v}" for k in ("scale", "mean", "std") if (v := getattr(options, k)) is not None]
    return (
        f"array {printable(name)!r} is preprocessed as (value * scale - mean) / std with {', '.join(parts)}"
    )
