"""Inputs that are not data: constants given with `--set NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.errors import UsageError, printable

Array = NDArray[Any]
Given = float | int | str | bool | Sequence[Any] | Array
Template = tuple[int | None, ...]


@dataclass(frozen=True)
class ConstantFeed:
    """A constant whose shape follows the batch: a recurrent state, an action mask. It stays an input."""

    value: Array
    """In the input's dtype; a scalar, or an array with 1 for the batch. Broadcasts to `shape`."""
    shape: Template
    """None where the size is the number of samples of a run."""

    @property
    def batch_axis(self) -> int:
        """The axis of the samples."""
        return self.shape.index(None)

    def of(self, samples: int) -> Array:
        """The array to feed to a run of so many samples."""
        sizes = tuple(samples if size is None else size for size in self.shape)
        return np.array(np.broadcast_to(self.value, sizes), order="C")


def place(graph: ir.Graph, constants: Mapping[str, Given]) -> tuple[dict[str, ConstantFeed], list[str]]:
    """Put constants in the place of inputs; those that follow the batch come back as feeds. Notes on all.

    A constant without a free axis becomes an initializer. Raises UsageError: no such input, or no such value
    for it.
    """
    inputs = {str(value.name): value for value in graph.inputs}
    overridable = {name: value for name, value in graph.initializers.items() if name in constants}
    for name in constants:
        if name not in inputs and name not in overridable:
            listed = ", ".join(printable(each) for each in inputs) or "none"
            raise UsageError(f"--set {printable(name)}: the model has no such input; its inputs are {listed}")
    batch = _Batch([value for name, value in inputs.items() if name not in constants])
    feeds: dict[str, ConstantFeed] = {}
    notes = []
    for name, given in constants.items():
        value = inputs.get(name) or overridable[name]
        template = _template(value, batch)
        array = _fitting(name, value, given, template)
        if template is not None and None in template:
            feeds[name] = ConstantFeed(array, template)
        else:
            _fix(graph, value, array, template)
        notes.append(f"input '{printable(name)}' was set to {printable(_brief(given))}")
    return feeds, notes


class _Batch:
    """How the data inputs declare their leading axis: the samples."""

    def __init__(self, data: Iterable[ir.Value]) -> None:
        leading = [value.shape[0] for value in data if value.shape is not None and len(value.shape)]
        self.symbols = {size.value for size in leading if isinstance(size, ir.SymbolicDim) and size.value}
        self.fixed = bool(leading) and all(size == 1 for size in leading if isinstance(size, int))
        self.fixed = self.fixed and all(isinstance(size, int) for size in leading)


def _template(value: ir.Value, batch: _Batch) -> Template | None:
    """The shape to fill: None for the samples' axis, 1 for other free axes; None where the rank is unknown.

    The samples' axis of a state is the one that shares its symbol with the data, else the first free one;
    where the model declares a fixed batch of 1, the first axis of size 1 of a state with two axes or more.
    """
    if value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    free = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
    if free:
        samples = next((axis for axis in free if sizes[axis] in batch.symbols), free[0])
        samples = -1 if batch.fixed else samples
    else:
        samples = sizes.index(1) if batch.fixed and len(sizes) > 1 and 1 in sizes else -1
    return tuple(
        None if axis == samples else size if isinstance(size, int) else 1 for axis, size in enumerate(sizes)
    )


def _fitting(name: str, value: ir.Value, given: Given, template: Template | None) -> Array:
    array = _typed(name, value, given)
    if template is None:
        return array
    sizes = tuple(1 if size is None else size for size in template)
    try:
        np.broadcast_to(array, sizes)
    except ValueError:
        shown = ", ".join("samples" if size is None else str(size) for size in template)
        misfit = f"a value of shape {list(array.shape)} does not fit the input's [{shown}]"
        raise UsageError(
            f"--set {printable(name)}: {misfit}; give one number, or an array with 1 for the samples"
        ) from None
    return array


def _typed(name: str, value: ir.Value, given: Given) -> Array:
    """The value in the input's dtype, exactly (a float may be rounded to a shorter one)."""
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    if dtype == ir.DataType.STRING:
        return np.asarray(given, dtype=object)
    raw = _parsed(given)
    if raw is None or raw.dtype.kind not in "biuf":
        raise _misfit(name, given, dtype)
    with np.errstate(all="ignore"):
        array = raw.astype(dtype.numpy())
        exact = np.array_equal(array.astype(raw.dtype), raw, equal_nan=raw.dtype.kind == "f")
        overflow = bool(np.any(np.isfinite(raw) & ~np.isfinite(array.astype(np.float64))))
    if overflow or (not dtype.is_floating_point() and not exact):
        raise _misfit(name, given, dtype)
    return array


def _misfit(name: str, given: Given, dtype: ir.DataType) -> UsageError:
    what = f"{printable(_brief(given))} is no value of type {dtype.name.lower()}, which the input has"
    return UsageError(f"--set {printable(name)}: {what}")


def _parsed(given: Given) -> Array | None:
    """Numbers out of text ("0", "true", "1,0,1"), or what was given as an array."""
    if not isinstance(given, str):
        try:
            return np.asarray(given)
        except ValueError:  # lists within lists, not all as long
            return None
    numbers = [_number(part.strip()) for part in given.split(",")]
    if any(number is None for number in numbers):
        return None
    return np.asarray(numbers if "," in given else numbers[0])


def _number(text: str) -> bool | int | float | None:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _fix(graph: ir.Graph, value: ir.Value, array: Array, template: Template | None) -> None:
    """Make the input an initializer."""
    sizes = array.shape if template is None else tuple(size or 0 for size in template)
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    full = np.array(np.broadcast_to(array, sizes), order="C")
    tensor = ir.tensor(full, dtype=dtype, name=value.name) if full.dtype != object else _strings(full, value)
    value.shape = ir.Shape(sizes)
    value.const_value = tensor
    if value in graph.inputs:
        graph.inputs.remove(value)
    graph.register_initializer(value)


def _strings(array: Array, value: ir.Value) -> ir.StringTensor:
    encoded = [str(text).encode() for text in array.reshape(-1)]
    return ir.StringTensor(encoded, shape=ir.Shape(array.shape), name=value.name)


def _brief(given: Given) -> str:
    return (
        f"an array of shape {list(given.shape)}"
        if isinstance(given, np.ndarray) and given.size > 8
        else str(given)
    )
