"""Steps that move data: sizes and indices that name channels are written anew, contents move along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import NOBODY, Channels
from nla.graph.shapes import Dim, Dims
from nla.graph.steps.rules import negative
from nla.surgery.cutting.masks import Flags, Places
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named, nothing

_WHOLE = 1 << 62
"""A bound of a Slice beyond which every end lies."""

# --- contents


def moved(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """Every channel of the outputs has the content that its neuron has in the first operand."""
    value = query.operand(node, 0)
    fact = work.flow.channels(value)
    if fact is None:
        return ()
    keys, content = _keys(fact), work.content(value).reshape(-1)
    known, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    alike = np.ones(len(known), np.bool_)
    np.logical_and.at(alike, inverse, content == content[first][inverse])
    by_key = np.where(alike, content[first], np.nan)
    return [_looked_up(work.flow.channels(output), known, by_key) for output in node.outputs]


def _keys(fact: Channels) -> Places:
    source, index = fact.flat()
    keys: Places = source.astype(np.int64) << 32 | index
    return np.where(source == NOBODY, NOBODY, keys)


def _looked_up(made: Channels | None, known: Places, by_key: Content) -> Content | None:
    if made is None:
        return None
    keys = _keys(made)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found = (known[at] == keys) & (keys != NOBODY)
    return np.where(found, by_key[at], np.nan).reshape(made.index.shape)


# --- sizes


def _reshape(work: Work, node: ir.Node) -> None:
    stated(work, node, 1, "shape", copy=None if query.integer(node, "allowzero") else 0, rest=True)


def _expand(work: Work, node: ir.Node) -> None:
    stated(work, node, 1, "", copy=1, rest=False)


def stated(work: Work, node: ir.Node, at: int, key: str, *, copy: int | None, rest: bool) -> None:
    """Make operand `at`, or the attribute `key`, state the output's sizes after the cut.

    `copy` is the number that stands for the size before, if one does: 0 in Reshape, and 1 in Expand, which counts
    axes from the last. With `rest` a -1 stands for what is left.
    """
    before, after = work.sizes.dims(query.operand(node, 0)), work.sizes.dims(query.output(node))
    given = query.integers(node, key) if key else None
    says = given if given is not None else work.sizes.elements(query.operand(node, at))
    if after is None or (says is not None and len(says) > len(after)):
        raise Unfit(f"{named(node)} has sizes that are not known")
    after = after[len(after) - len(says or after) :]
    says = says or (None,) * len(after)
    if copy == 1 and before is not None:
        before = ((1,) * (len(after) - len(before)) + before)[-len(after) :]
    cut = _cut_axes(work, node, len(after))
    fits = [
        _fits(say, want, (copy, _at(before, place)), rest, place in cut)
        for place, (say, want) in enumerate(zip(says, after, strict=True))
    ]
    sure = not work.sizes.changed(query.operand(node, at)) or None not in says
    if all(fits) and sure:
        return
    work.set_constant(node, at, key, _written(node, says, after, before, (copy, rest)))


def _cut_axes(work: Work, node: ir.Node, rank: int) -> set[int]:
    gone = work.gone(query.output(node))
    return set() if gone is None else {axis + rank for axis, _ in gone.cuts()}


def _at(dims: Dims | None, place: int) -> Dim:
    return None if dims is None or place >= len(dims) else dims[place]


def _fits(say: Dim, want: Dim, copying: tuple[int | None, Dim], rest: bool, cut: bool) -> bool:
    """True where what is stated gives the size that is needed; `copying`: the number that copies, and what."""
    copy, copied = copying
    if say == -1 and rest:
        return True
    if copy is not None and say == copy and copied is not None:
        return copied == want
    if not isinstance(want, int) or say is None:
        return not cut  # nothing that was followed changes it
    return say == want


def _written(
    node: ir.Node, says: Dims, after: Dims, before: Dims | None, may: tuple[int | None, bool]
) -> list[int]:
    """The sizes as constants: what is not a number is copied from before, or is what is left."""
    copy, rest = may
    sizes: list[int | None] = []
    for place, want in enumerate(after):
        copied = _at(before, place)
        if isinstance(want, int):
            sizes.append(want)
        elif copy is not None and (says[place] == copy or (want is not None and copied == want)):
            sizes.append(copy)
        else:
            sizes.append(None)
    if sizes.count(None) > int(rest):
        raise Unfit(f"{named(node)} has sizes that the data decides")
    return [-1 if size is None else size for size in sizes]


def _squeeze(work: Work, node: ir.Node) -> None:
    nothing(work, node)
    gone = work.gone(query.operand(node, 0))
    open_ = query.integers(node, "axes") is None and query.operand(node, 1) is None
    if open_ and gone is not None and any(len(places) == 1 for _, places in gone.cuts()):
        raise Unfit(f"{named(node)} would drop the channel axis, of which one is left")


# --- parts


def _split(work: Work, node: ir.Node) -> None:
    gone = work.gone(query.operand(node, 0))
    counted = negative([query.integer(node, "axis")], work.flow.rank(query.operand(node, 0)))
    if gone is None or counted is None:
        raise Unfit(f"{named(node)} splits along an axis that cannot be told")
    axis = counted[0]
    stay = gone.kept(axis)
    if stay is None:
        return
    sizes = []
    for output in node.outputs:
        length = work.flow.length(output, axis)
        places = work.kept(output, axis)
        if length is None:
            raise Unfit(f"{named(node)} has parts of unknown size")
        sizes.append(length if places is None else len(places))
    if sum(sizes) != len(stay):
        raise Unfit(f"{named(node)} has parts that do not make the whole")
    _write_split(work, node, sizes)


def _write_split(work: Work, node: ir.Node, sizes: list[int]) -> None:
    if query.operand(node, 1) is None and query.integers(node, "split") is None and len(set(sizes)) == 1:
        return  # equal parts are what it makes by itself
    if work.flow.opset >= 13:
        work.requests.constants[node, 1] = np.asarray(sizes, np.int64)
        if "num_outputs" in node.attributes:
            work.requests.attributes[node, "num_outputs"] = None
    else:
        work.requests.attributes[node, "split"] = sizes


def _some(work: Work, node: ir.Node) -> None:
    """For nodes that take some of the channels, perhaps none of those that leave."""
    if work.flow.channels(node.outputs[0]) is None:
        nothing(work, node)


def _slice(work: Work, node: ir.Node) -> None:
    _some(work, node)
    gone = work.gone(query.operand(node, 0))
    bounds = [_integers(work, node, at, key) for at, key in ((1, "starts"), (2, "ends"), (4, "steps"))]
    starts, ends = bounds[0], bounds[1]
    if gone is None or starts is None or ends is None:
        raise Unfit(f"{named(node)} has bounds that are not constant")
    steps = bounds[2] or [1] * len(starts)
    axes = _integers(work, node, 3, "axes") or list(range(len(starts)))
    counted = negative(axes, work.flow.rank(query.operand(node, 0)))
    if counted is None or len(counted) != len(starts):
        raise Unfit(f"{named(node)} cuts along axes that cannot be told")
    for at, axis in enumerate(counted):
        if gone.kept(axis) is not None:
            found = _bounds(gone.line(axis), starts[at], ends[at], steps[at])
            if found is None:
                raise Unfit(f"{named(node)} takes channels in steps that no longer fit")
            starts[at], ends[at], steps[at] = found
    work.set_constant(node, 1, "starts", starts)
    work.set_constant(node, 2, "ends", ends)
    if any(step != 1 for step in steps) or bounds[2] is not None:
        work.set_constant(node, 4, "steps", steps)
        if query.operand(node, 3) is None and query.integers(node, "axes") is None:
            work.set_constant(node, 3, "axes", axes)


def _integers(work: Work, node: ir.Node, at: int, key: str) -> list[int] | None:
    """A list of integers that the node is given, by operand or attribute, where it is known."""
    given = query.integers(node, key)
    found = given if given is not None else work.flow.shapes.elements(query.operand(node, at))
    if found is None or not all(isinstance(number, int) for number in found):
        return None
    return [number for number in found if isinstance(number, int)]


def _bounds(line: Flags, start: int, end: int, step: int) -> tuple[int, int, int] | None:
    """(start, end, step) that take, of what stays, what was taken before; None where no step does."""
    stop = None if step < 0 and end < -len(line) else end
    taken = np.arange(len(line))[slice(start, stop, step)]
    places = (np.cumsum(~line) - 1)[taken[~line[taken]]]
    if len(places) == 0:
        return None
    steps = np.unique(np.diff(places))
    if len(steps) > 1:
        return None
    by = int(steps[0]) if len(steps) else (1 if step > 0 else -1)
    last = int(places[-1]) + (1 if by > 0 else -1)
    return int(places[0]), last if last >= 0 else -_WHOLE, by


def _gather(work: Work, node: ir.Node) -> None:
    _some(work, node)
    counted = negative([query.integer(node, "axis")], work.flow.rank(query.operand(node, 0)))
    gone = work.gone(query.operand(node, 0))
    if gone is None or counted is None:
        raise Unfit(f"{named(node)} takes along an axis that cannot be told")
    if gone.kept(counted[0]) is None:
        return
    chosen = work.array(query.operand(node, 1))
    if chosen is None:
        raise Unfit(f"{named(node)} takes channels that cannot be told")
    line = gone.line(counted[0])
    places = np.where(chosen < 0, chosen + len(line), chosen)
    if chosen.ndim == 0 and line[places]:
        raise Unfit(f"{named(node)} takes the one channel that leaves")
    after = np.cumsum(~line) - 1
    stays = after[places] if chosen.ndim == 0 else after[places[~line[places]]]
    work.requests.constants[node, 1] = np.asarray(stays, chosen.dtype)


# --- positions


def _resize(work: Work, node: ir.Node) -> None:
    nothing(work, node)
    gone, sizes = work.gone(node.outputs[0]), query.operand(node, 3)
    if sizes is None or gone is None or query.integers(node, "axes") is not None:
        return
    says, after = work.sizes.elements(sizes), work.sizes.dims(node.outputs[0])
    if says is None or after is None or len(says) != len(after):
        raise Unfit(f"{named(node)} has sizes that are not known")
    if all(says[axis] == after[axis] for axis, _ in gone.cuts()):
        return
    numbers = [want if isinstance(want, int) else say for say, want in zip(says, after, strict=True)]
    if not all(isinstance(number, int) for number in numbers):
        raise Unfit(f"{named(node)} has sizes that the data decides")
    work.set_constant(node, 3, "", [number for number in numbers if isinstance(number, int)])


def _resized(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """A plane of one value stays one, but for what lies outside the picture."""
    content = work.content(query.operand(node, 0))
    outside = query.text(node, "coordinate_transformation_mode") == "tf_crop_and_resize"
    return [np.full(content.shape, np.nan) if outside else content]


def _padded(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """What is put around must be what is there."""
    content = work.content(query.operand(node, 0))
    if query.text(node, "mode", "constant") != "constant":
        return [content]
    given = query.operand(node, 2)
    around = query.real(node, "value", 0.0) if given is None else work.constants.scalar(given)
    return [np.where(content == around, content, np.nan)]


def shape_of(work: Work, node: ir.Node) -> None:
    """A size follows by itself; who computes with it is asked when its turn comes."""


RULES: dict[str, Rule] = {
    "Transpose": Rule(nothing, moved),
    "Reshape": Rule(_reshape, moved),
    "Flatten": Rule(nothing, moved),
    "Squeeze": Rule(_squeeze, moved),
    "Unsqueeze": Rule(nothing, moved),
    "Expand": Rule(_expand, moved),
    "Split": Rule(_split, moved),
    "Slice": Rule(_slice, moved),
    "Gather": Rule(_gather, moved),
    "Tile": Rule(nothing, moved),
    "Pad": Rule(nothing, _padded),
    "Resize": Rule(_resize, _resized),
    "Upsample": Rule(nothing, _resized),
    "SpaceToDepth": Rule(nothing, moved),
    "Shape": Rule(shape_of),
    "Size": Rule(shape_of),
}
