"""Gradients of pooling. Where several values of a window are the largest, the first takes it all, as in PyTorch."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal
from nla.graph.backward.windows import Windows, windows

_LARGEST = 1 << 24
"""Elements of a constant that is made: a few attributes can ask for terabytes."""


def _max_pool(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Windows side by side by a convolution with ones and zeros, the first largest of each, and back again."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if query.integer(node, "storage_order"):
        raise refusal(node, "windows are read column by column (storage_order 1)")
    if _takes_all(tape, node, x):
        return _global_max(tape, node, gradient)
    seen, channels = _pooled(tape, node)
    count = query.product(seen.kernel)
    if count * count * channels > _LARGEST:
        raise refusal(node, "its windows are too large to be taken apart")
    lowest = float(np.finfo(np.float16 if tape.kind(x) == ir.DataType.FLOAT16 else np.float32).min)
    around = (0, 0, *seen.begins, 0, 0, *seen.ends)
    taken = np.eye(count).reshape(count, 1, *seen.kernel)
    weight = tape.number(np.tile(taken, (channels, *[1] * (taken.ndim - 1))), x)
    side_by_side = tape.put(
        "Conv",
        tape.padded(x, around, lowest, x),
        weight,
        group=channels,
        kernel_shape=list(seen.kernel),
        strides=list(seen.strides),
        dilations=list(seen.dilations),
    )
    first = tape.put(
        "ArgMax",
        tape.put("Reshape", side_by_side, tape.integers(0, channels, count, -1)),
        axis=2,
        keepdims=1,
    )
    chosen = _one_hot(tape, first, count, x, rank=4)
    given = tape.put("Reshape", gradient, tape.integers(0, channels, 1, -1))
    sizes = tape.sizes(node, y, 2)
    parts = tape.put("Reshape", tape.times(chosen, given), tape.integers(0, channels * count, *sizes))
    return (tape.put("ConvTranspose", parts, weight, group=channels, **seen.transposed()),)


def _takes_all(tape: Tape, node: ir.Node, x: ir.Value) -> bool:
    """Whether there is one window, over the whole map: exporters write a global pooling so."""
    kernel, sizes = query.integers(node, "kernel_shape") or (), tape.dims(node, x)[2:]
    plain = not any(query.integers(node, "pads") or ()) and set(query.integers(node, "dilations") or ()) <= {
        1
    }
    return plain and kernel == sizes and query.text(node, "auto_pad", "NOTSET") in ("", "NOTSET", "VALID")


def _one_hot(tape: Tape, index: ir.Value, count: int, like: ir.Value, *, rank: int) -> ir.Value:
    """1 at the index along axis 2, else 0."""
    places = np.arange(count, dtype=np.int64).reshape(1, 1, count, *[1] * (rank - 3))
    return tape.flag(tape.put("Equal", index, tape.array(places)), like)


def _average_pool(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    seen, channels = _pooled(tape, node)
    weight = tape.number(np.ones((channels, 1, *seen.kernel)), x)
    if max(channels, query.product(tape.sizes(node, y, 2))) * query.product(seen.kernel) > _LARGEST:
        raise refusal(node, "its windows are too many")
    counted = _counted(node, seen, tape.sizes(node, x, 2), tape.sizes(node, y, 2))
    shared = tape.put("Div", gradient, tape.number(counted, x))
    return (tape.put("ConvTranspose", shared, weight, group=channels, **seen.transposed()),)


def _counted(node: ir.Node, seen: Windows, into: list[int], made: list[int]) -> np.ndarray:
    """[*made] how many values each mean is of."""
    padded = bool(query.integer(node, "count_include_pad"))
    pads = query.integers(node, "pads") or (0,) * (2 * len(made))
    total = np.ones(())
    for k, size in enumerate(made):
        at = np.arange(size)[:, None] * seen.strides[k] + np.arange(seen.kernel[k]) * seen.dilations[k]
        at = at - seen.begins[k]
        first, last = (-seen.begins[k], into[k] + max(pads[len(made) + k], 0)) if padded else (0, into[k])
        if padded and not query.integer(node, "ceil_mode"):
            last = into[k] + seen.ends[k]
        along = ((at >= first) & (at < last)).sum(axis=1)
        total = total[..., None] * np.maximum(along, 1)
    return total


def _pooled(tape: Tape, node: ir.Node) -> tuple[Windows, int]:
    """The windows, and how many channels there are."""
    kernel = query.integers(node, "kernel_shape")
    if not kernel or min(kernel) < 1:
        raise refusal(node, "its windows have no size")
    dilated = max(query.integers(node, "dilations") or (1,)) > 1
    if query.text(node, "auto_pad", "").startswith("SAME") and (dilated or query.integer(node, "ceil_mode")):
        raise refusal(
            node, "it pads by auto_pad beside dilations or ceil_mode, which runtimes count differently"
        )
    return windows(tape, node, kernel), tape.sizes(node, node.inputs[0], 1)[0]


def _global_average(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x = node.inputs[0]
    assert x is not None
    return (tape.spread_to(tape.put("Div", gradient, each_is_of(tape, node, x)), x),)


def each_is_of(tape: Tape, node: ir.Node, x: ir.Value) -> ir.Value:
    """How many values of x are behind each of the node's output."""
    sizes = (
        tape.put("Cast", tape.put("Size", value), to=int(tape.kind(x))) for value in (x, node.outputs[0])
    )
    return tape.put("Div", *sizes)


def _global_max(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x = node.inputs[0]
    assert x is not None
    count = query.product(tape.sizes(node, x, 2))
    flat = tape.put("Reshape", x, tape.integers(0, 0, -1))
    chosen = _one_hot(tape, tape.put("ArgMax", flat, axis=2, keepdims=1), count, x, rank=3)
    given = tape.put("Reshape", gradient, tape.integers(0, 0, 1))
    return (tape.shaped_as(tape.times(chosen, given), x),)


RULES: dict[str, Rule] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
