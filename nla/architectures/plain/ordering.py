"""The order of a plain network's layers and the layout of its weights: taken where exactly one fits.

A file says neither: its header is sorted by type and name, and a matrix does not say which of its axes is which.
What it does say: lengths of biases, shapes that have to chain, and numbers in names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise

from nla.architectures.plain.chain import LAYOUTS, fault, fits_bias, widths
from nla.architectures.plain.grouping import Layer, natural_key
from nla.architectures.plain.words import Step
from nla.errors import ModelError, UsageError

_NUMBER = re.compile(r"[0-9]+")
_MOST_TRIED = 1_000_000
"""Steps of the search before nla asks: n names without numbers can be put in order in n! ways."""
_SHOWN = 8
_HOW = "give --layers, the names before .weight in their order, as in --layers fc1,fc2,out"
_WHICH = "say which with an option of a dense layer: NAME:layout=oi for [out, in], or NAME:layout=io"


def given(steps: Sequence[Step]) -> str:
    """The layout of a network whose order was given. Raises UsageError, ModelError."""
    said = {step.layout for step in steps if step.layout}
    if len(said) > 1:
        raise UsageError("--layers gives two layouts, and one file has one")
    dense = [step.layer for step in steps if step.layer is not None and step.kind == "dense"]
    faults = {layout: _first_fault(steps, dense, layout) for layout in LAYOUTS if not said or layout in said}
    fitting = [layout for layout, wrong in faults.items() if wrong is None]
    if not fitting:
        raise ModelError(f"--layers does not fit the file: {next(iter(faults.values()))}")
    if len(fitting) > 1 and dense:
        raise UsageError(
            f"its dense weights fit as {' and as '.join(LAYOUTS.values())}; with --layers, {_WHICH}"
        )
    return fitting[0]


def inferred(layers: Mapping[str, Layer]) -> tuple[list[Step], str]:
    """The steps and the layout of an MLP whose order and layout can be one only. Raises UsageError."""
    conv = next((layer for layer in layers.values() if layer.kind == "conv"), None)
    if conv is not None:
        raise UsageError(
            f"'{conv.called}' is a convolution {list(conv.shape)}, and stride, padding and pooling are not in the "
            "file: give --layers with them, as in --layers conv1:stride=1:pad=1,pool=max2,fc1"
        )
    found = [(layout, order) for layout in LAYOUTS for order in islice(_orders(layers, layout), 2)]
    if not found:
        raise UsageError(
            f"its layers ({_shown(layers.values())}) make no network in one line, each reading what the one before "
            "it gives, and numbers in names in order: give its graph with --graph, or the order with --layers"
        )
    if len(found) > 1:
        raise _several(found)
    layout, order = found[0]
    _check_numbers(order)
    return [Step(layer) for layer in order], layout


def _first_fault(steps: Sequence[Step], dense: Iterable[Layer], layout: str) -> str | None:
    wrong = next((layer for layer in dense if not fits_bias(layer, layout)), None)
    if wrong is not None:
        return f"'{wrong.called}' has a weight {list(wrong.shape)} and a bias of {wrong.bias_size}"
    return fault(steps, layout)


def _orders(layers: Mapping[str, Layer], layout: str) -> Iterator[tuple[Layer, ...]]:
    """Every order in which shapes chain; layers whose names differ in numbers only keep the order of these.

    Raises UsageError where too many would have to be tried.
    """
    if not all(fits_bias(layer, layout) for layer in layers.values() if layer.kind == "dense"):
        return
    series: dict[str, list[Layer]] = {}
    for prefix in sorted(layers, key=natural_key):
        series.setdefault(_NUMBER.sub("#", prefix), []).append(layers[prefix])
    rows = list(series.values())
    at, path, taken = [0] * len(rows), list[Layer](), list[int]()
    choices, tried = [iter(range(len(rows)))], 0
    while choices:
        row = next(choices[-1], None)
        tried += 1
        if tried > _MOST_TRIED:
            raise UsageError(f"its {len(layers)} layers fit in too many orders to try them: {_HOW}")
        if row is None:
            choices.pop()
            if path:
                path.pop()
                at[taken.pop()] -= 1
        elif at[row] < len(rows[row]) and _follows(rows[row][at[row]], path, layout):
            path.append(rows[row][at[row]])
            taken.append(row)
            at[row] += 1
            choices.append(iter(range(len(rows))))
            if len(path) == len(layers):
                yield tuple(path)


def _follows(layer: Layer, path: Sequence[Layer], layout: str) -> bool:
    """Whether the layer can come next: the widths agree, and a BatchNorm stands directly behind another layer."""
    if not path:
        return layer.kind != "batchnorm"
    if layer.kind == path[-1].kind == "batchnorm":
        return False
    return widths(layer, layout)[0] == widths(path[-1], layout)[1]


def _several(found: Sequence[tuple[str, tuple[Layer, ...]]]) -> UsageError:
    orders = list(dict.fromkeys(order for _, order in found))
    if len(orders) == 1:
        return UsageError(
            f"its weights fit as {' and as '.join(LAYOUTS.values())}, for no bias or width decides: "
            f"give --layers and {_WHICH}"
        )
    told = [", ".join(layer.called for layer in order[:_SHOWN]) for order in orders[:2]]
    return UsageError(f"its layers fit in more than one order ({told[0]}; {told[1]}; perhaps others): {_HOW}")


def _check_numbers(order: Sequence[Layer]) -> None:
    """Refuse what the numbers of a Sequential contradict: an activation where no room is, or one before a norm."""
    gaps = [(a, b, gap) for a, b in pairwise(order) if (gap := _gap(a, b)) is not None]
    for first, second, gap in gaps:
        if second.kind == "batchnorm" and gap > 1:
            raise UsageError(
                f"the numbers of '{first.called}' and '{second.called}' leave room for an activation between a "
                f"layer and its BatchNorm, and nla puts it behind; if that is right, {_HOW}"
            )
    between = [gap for _, second, gap in gaps if second.kind == "dense"]
    if between and min(between) == 1 < max(between):
        tight = next((a, b) for a, b, gap in gaps if b.kind == "dense" and gap == 1)
        raise UsageError(
            f"the numbers of '{tight[0].called}' and '{tight[1].called}' leave no room for an activation between them, "
            f"as those of other layers do: {_HOW}, and --activation with 'identity' where there is none"
        )


def _gap(first: Layer, second: Layer) -> int | None:
    """Difference of the last numbers of two names that differ in it only; None for others."""
    a, b = _NUMBER.findall(first.prefix), _NUMBER.findall(second.prefix)
    alike = _NUMBER.sub("#", first.prefix) == _NUMBER.sub("#", second.prefix)
    if not alike or not a or a[:-1] != b[:-1] or max(len(a[-1]), len(b[-1])) > 18:
        return None
    return int(b[-1]) - int(a[-1])


def _shown(layers: Iterable[Layer]) -> str:
    told = [f"{layer.called} {list(layer.shape)}" for layer in layers]
    return ", ".join(told[:_SHOWN]) + (" …" if len(told) > _SHOWN else "")
