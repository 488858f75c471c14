"""For which inputs silence is to be proved: a stated set for each input, checked, and described in words.

A domain is of one sample, and holds for every sample alike. Inputs that a site does not depend on need none: behind a
LayerNorm, an RMSNorm or a softmax the normalisation itself bounds what comes after it, whatever was fed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nla.certificates.domain_checks import (
    Shape,
    batch_of,
    element,
    known,
    listed,
    once,
    positive,
    range_of,
    refuse,
    spread,
)
from nla.certificates.network import Network, Target
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box, Domain, Hull, anywhere
from nla.errors import UsageError, printable

Shapes = Mapping[str, Shape]
"""Shape of one sample by input."""

BOX, DATA, FILE, HULL = "box", "data", "file", "hull"
NON_NEGATIVE, OBSERVED, EVERYTHING = "non-negative", "observed", "everything"
KINDS = ("any", BOX, DATA, FILE, HULL, NON_NEGATIVE, OBSERVED)
"""Of whole domains."""

_WORDS = {
    BOX: "{name} between {low} and {high}",
    DATA: "{name} within the range of each element over {samples} samples, {low} to {high}",
    FILE: "{name} within the ranges of {source}, {low} to {high}",
    HULL: "{name} in the convex hull of {samples} samples",
    NON_NEGATIVE: "{name} without negative elements, of any size",
    OBSERVED: "whatever leads to values of {name} within the range of each element seen over {samples} samples, "
    "{low} to {high}",
    EVERYTHING: "any {name}",
}


@dataclass(frozen=True)
class Stated:
    """The domain of one tensor, and how it came about."""

    tensor: str
    """An input; for the kind `observed` any tensor of the graph."""
    kind: str
    """box, data, file, hull, non-negative, observed, everything."""
    values: Domain
    source: str = ""
    """As it was given: the text of an option, the name of a file."""
    samples: int | None = None
    """Of the data that it was made of."""
    margin: float = 0.0
    """By which it reaches beyond that data, in the units of the tensor."""
    sites: tuple[str, ...] = ()
    """Of the kind `observed`: the sites whose layers read the tensor."""

    @property
    def box(self) -> Box:
        """The ranges that it lies in."""
        return self.values.box

    def sentence(self) -> str:
        """The domain in words, for people.

        >>> box("x", 0, 1, (784,)).sentence()
        'x between 0 and 1'
        """
        return sentence(self.tensor, self.kind, _ends(self.box), self.samples, self.margin, self.source)

    def plain(self) -> dict[str, Any]:
        """For documents: no NaN, no infinity (an end that is open is None), and a digest of the whole set."""
        low, high = (float(end) if np.isfinite(end) else None for end in _ends(self.box))
        readers = {"sites": list(self.sites)} if self.sites else {}
        return readers | {
            "tensor": self.tensor,
            "kind": self.kind,
            "shape": list(self.box.shape),
            "low": low,
            "high": high,
            "uniform": _alike(self.box.lo) and _alike(self.box.hi),
            "samples": self.samples,
            "margin": self.margin,
            "source": self.source,
            "sha256": digest(self.values),
            "text": self.sentence(),
        }


def sentence(
    tensor: str,
    kind: str,
    ends: tuple[float, float],
    samples: int | None = None,
    margin: float = 0.0,
    source: str = "",
) -> str:
    """A domain in words; `ends` are the lowest and the highest of any element."""
    low, high = ends
    text = _WORDS[kind].format(
        name=printable(tensor),
        low=f"{low:g}",
        high=f"{high:g}",
        samples=f"{samples or 0:,}",
        source=printable(source),
    )
    wider = f"widened by {margin:g} in every element" if kind == HULL else f"{margin:g} wider on both sides"
    return f"{text}, {wider}" if margin else text


def digest(values: Domain) -> str:
    """sha256 of the ends of a box, or of the points and the radius of a hull, as little-endian float64."""
    made = hashlib.sha256()
    parts = (
        (values.points, np.asarray(values.radius))
        if isinstance(values, Hull)
        else (values.box.lo, values.box.hi)
    )
    for part in parts:
        made.update(np.ascontiguousarray(part + 0.0, "<f8").tobytes())  # -0.0 is 0.0 here
    return made.hexdigest()


def _alike(ends: Floats) -> bool:
    return bool((ends == ends.flat[0]).all()) if ends.size else True


def _ends(box: Box) -> tuple[float, float]:
    return (float(box.lo.min()) + 0.0, float(box.hi.max()) + 0.0) if box.lo.size else (0.0, 0.0)


# --- making them


def box(
    tensor: str, lo: ArrayLike, hi: ArrayLike, shape: Shape, *, kind: str = BOX, source: str = ""
) -> Stated:
    """lo ≤ x ≤ hi; ends broadcast: one number, one for each channel, or one for each element.

    A list of n numbers belongs to the one axis of size n; where several have that size, to the first (channels). Ends
    may be infinite.

    Raises:
        UsageError: NaN, lo above hi (which element, which values), a shape that does not fit.
    """
    low, high = (spread(tensor, end, shape) for end in (lo, hi))
    for end in (low, high):
        refuse(tensor, np.isnan(end), "is not a number", low, high)
    refuse(tensor, low > high, "is empty: the lower end is above the upper", low, high)
    refuse(tensor, np.isposinf(low) | np.isneginf(high), "holds no number", low, high)
    return Stated(tensor, kind, Box(low, high), source)


def as_read(stated: Stated, kind: str) -> Stated:
    """The box with the numbers that its ends become where the model reads them: 0.1 is 0.10000000149 in float32.

    Args:
        stated: of the kind box or file.
        kind: name of the input's type; ends of other types than float32 and float16 stay as they are.

    Raises:
        UsageError: no finite number of that type lies in it.
    """
    if kind not in ("float32", "float16"):
        return stated
    most = float(np.finfo(kind).max)
    beyond = (stated.box.lo > most) | (stated.box.hi < -most)
    refuse(stated.tensor, beyond, f"holds no {kind} number", stated.box.lo, stated.box.hi)
    with np.errstate(over="ignore"):
        low, high = (end.astype(kind).astype(np.float64) for end in (stated.box.lo, stated.box.hi))
    lo = np.where(np.isfinite(low), np.minimum(low, stated.box.lo), stated.box.lo)
    hi = np.where(np.isfinite(high), np.maximum(high, stated.box.hi), stated.box.hi)
    return replace(stated, values=Box(lo, hi))


def non_negative(tensor: str, shape: Shape) -> Stated:
    """x ≥ 0, of unknown size."""
    return Stated(tensor, NON_NEGATIVE, Box(np.zeros(shape), np.full(shape, np.inf)))


def everything(tensor: str, shape: Shape) -> Stated:
    """No bound at all: what is proved then follows from weights and normalisation alone."""
    return Stated(tensor, EVERYTHING, anywhere(shape))


@dataclass
class Seen:
    """The range of each element over data that come batch by batch."""

    tensor: str
    shape: Shape
    samples: int = 0
    _lo: Floats = field(init=False)
    _hi: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._lo, self._hi = np.full(self.shape, np.inf), np.full(self.shape, -np.inf)

    def add(self, values: ArrayLike) -> None:
        """[samples, *shape] more of them. Raises UsageError: another shape, NaN, infinity."""
        batch = batch_of(self.tensor, values, self.shape, self.samples)
        if len(batch):
            self._lo = np.minimum(self._lo, batch.min(axis=0))
            self._hi = np.maximum(self._hi, batch.max(axis=0))
        self.samples += len(batch)

    def stated(self, margin: float = 0.0, kind: str = DATA, source: str = "") -> Stated:
        """The box of what was seen, wider by `margin` on both sides. Raises UsageError: no samples, a bad margin."""
        positive("margin", margin)
        if not self.samples:
            raise UsageError(f"the domain of '{printable(self.tensor)}': no samples to take a range from")
        made = box(self.tensor, self._lo - margin, self._hi + margin, self.shape, kind=kind, source=source)
        return replace(made, samples=self.samples, margin=margin)


def of_data(
    tensor: str, samples: ArrayLike, shape: Shape, margin: float = 0.0, *, source: str = ""
) -> Stated:
    """The range of each element over [samples, *shape] data."""
    seen = Seen(tensor, shape)
    seen.add(samples)
    return seen.stated(margin, source=source)


def hull(tensor: str, samples: ArrayLike, shape: Shape, radius: float = 0.0, *, source: str = "") -> Stated:
    """The convex hull of [samples, *shape] data, widened by `radius` in every element (L∞).

    Sharp where z is linear in the input; deeper its box is what counts between the layers.
    """
    positive("radius", radius)
    points = batch_of(tensor, samples, shape, 0)
    if not len(points):
        raise UsageError(f"the domain of '{printable(tensor)}': no samples to take the hull of")
    return Stated(tensor, HULL, Hull(points, radius), source, len(points), radius)


def from_texts(texts: Sequence[str], shapes: Shapes) -> dict[str, Stated]:
    """Boxes as the command line gives them: `0:1` for every input, `x=0:1`, or `x=0:1,-1:1,-1:1` by channel.

    Raises:
        UsageError: no range, an unknown input, an input that is given twice, and what `box` refuses.
    """
    named: dict[str, Stated] = {}
    common: dict[str, Stated] = {}
    for text in texts:
        name, _, given = text.rpartition("=")
        ends = [range_of(text, part) for part in given.split(",")]
        lo, hi = np.array([low for low, _ in ends]), np.array([high for _, high in ends])
        lo, hi = (lo[0], hi[0]) if len(ends) == 1 else (lo, hi)
        if name:
            known(name, shapes)
            once(name, named)
            named[name] = box(name, lo, hi, shapes[name], source=text)
        elif common:
            first = next(iter(common.values())).source
            raise UsageError(
                f"box '{printable(text)}': '{printable(first)}' was given for every input already"
            )
        else:
            common = {each: box(each, lo, hi, shape, source=text) for each, shape in shapes.items()}
    return {**common, **named}


def from_arrays(arrays: Mapping[str, ArrayLike], shapes: Shapes, source: str) -> dict[str, Stated]:
    """Boxes from arrays named `lo` and `hi` (one input), or `INPUT.lo` and `INPUT.hi`.

    Raises:
        UsageError: an end without the other, an unknown input, and what `box` refuses.
    """
    ends: dict[str, dict[str, ArrayLike]] = {}
    for key, value in arrays.items():
        name, _, end = key.rpartition(".")
        if end not in ("lo", "hi"):
            raise UsageError(
                f"{printable(source)}: '{printable(key)}' is neither 'lo' nor 'hi' nor 'INPUT.lo' nor 'INPUT.hi'"
            )
        ends.setdefault(name, {})[end] = value
    if "" in ends and len(shapes) != 1:
        raise UsageError(
            f"{printable(source)}: 'lo' and 'hi' name no input; the model has {len(shapes)}: "
            f"call them 'INPUT.lo' and 'INPUT.hi' ({listed(shapes)})"
        )
    found: dict[str, Stated] = {}
    for name, pair in ends.items():
        tensor = name or next(iter(shapes))
        known(tensor, shapes)
        once(tensor, found)
        missing = {"lo", "hi"} - set(pair)
        if missing:
            raise UsageError(f"{printable(source)}: '{printable(tensor)}' has no '{missing.pop()}'")
        found[tensor] = box(tensor, pair["lo"], pair["hi"], shapes[tensor], kind=FILE, source=source)
    return found


# --- holding them against data and networks


def check_covers(stated: Stated, samples: ArrayLike, first: int = 0) -> None:
    """Refuse a domain that leaves out given data; `first` is the number of the first of these samples.

    Of a hull its box is checked.

    Raises:
        UsageError: which sample, which element, by how much.
    """
    lo, hi = stated.box.lo, stated.box.hi
    batch = batch_of(stated.tensor, samples, stated.box.shape, first)
    beyond = np.maximum(lo - batch, batch - hi)
    if not beyond.size or not (beyond > 0).any():
        return
    place = np.unravel_index(int(beyond.argmax()), beyond.shape)
    at = tuple(int(k) for k in place[1:])
    outside = int((beyond > 0).reshape(len(batch), -1).any(axis=1).sum())
    raise UsageError(
        f"the domain does not cover the data: sample {first + int(place[0])} has {batch[place]:g} at "
        f"{element(stated.tensor, at)}, outside {lo[at]:g} to {hi[at]:g} by {beyond[place]:g} "
        f"(so do {outside} of {len(batch)} samples): widen the domain, or leave out --data"
    )


def check_whole(stated: Stated) -> None:
    """Refuse a domain of an input of an integer type that holds no whole number. Raises UsageError."""
    lo, hi = stated.box.lo, stated.box.hi
    refuse(stated.tensor, np.ceil(lo) > np.floor(hi), "holds no whole number", lo, hi)


def needed(network: Network, target: Target) -> tuple[str, ...]:
    """The inputs that a site's z depends on, past tensors whose range is known whatever is fed."""
    wanted = {target.pre}
    for op in reversed(network.ops):
        if op.output in wanted and op.output not in network.given:
            wanted.update(op.inputs)
    return tuple(name for name in network.inputs if name in wanted and name not in network.given)


def completed(network: Network, stated: Mapping[str, Stated]) -> dict[str, Domain]:
    """A domain for each input: what was stated, else anything at all, under which only normalised sites are decided."""
    return {
        name: stated[name].values if name in stated else anywhere(shape)
        for name, shape in network.inputs.items()
    }
