"""For which inputs: what the options say of the domain, as a set for each input and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import Calibration
from nla.certificates import domain_files, domains
from nla.certificates.domains import Stated
from nla.certificates.interval import ranges
from nla.certificates.network import Network, Target
from nla.certificates.sets import Domain
from nla.certifying.opened import ANY, Opened
from nla.errors import UsageError, printable

_BLOCK = 256
_MOST_POINTS = 1 << 27
"""Values that the points of a hull may hold."""
_ASSUMES = {
    ANY: "any input: what is proved follows from the weights and from normalisation alone",
    domains.BOX: "every input within the ranges given",
    domains.FILE: "every input within the ranges of the file",
    domains.DATA: "every input within the range of each element over the data, seen or not",
    domains.HULL: "every input in the convex hull of the data, seen or not",
    domains.NON_NEGATIVE: "every input without negative elements, of any size",
}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Domains:
    """What was stated, and what that makes of every input of the network."""

    kind: str
    stated: Mapping[str, Stated]
    sets: Mapping[str, Domain]

    def plain(self) -> dict[str, Any]:
        """For the document."""
        return {
            "kind": self.kind,
            "assumes": _ASSUMES[self.kind],
            "inputs": [each.plain() for each in self.stated.values()],
        }


def stated(
    opened: Opened, targets: Sequence[Target], arguments: Mapping[str, Any], progress: Progress
) -> Domains:
    """The domain that was asked for, held against the data where both were given.

    Raises:
        UsageError: a domain that is empty, NaN or leaves out data; none where one is needed.
    """
    kind = _kind(opened, targets, arguments)
    shapes = {
        name: shape
        for name, shape in opened.network.inputs.items()
        if name not in opened.prepared.constant_feeds
    }
    if kind == ANY:
        found: dict[str, Stated] = {}
    elif kind == domains.BOX:
        found = domains.from_texts(arguments["box"], shapes)
    elif kind == domains.FILE:
        found = domain_files.read(Path(arguments["ranges"]), shapes)
    elif kind == domains.NON_NEGATIVE:
        found = {name: domains.non_negative(name, shape) for name, shape in shapes.items()}
    else:
        found = _of_data(opened, kind, shapes, arguments["margin"], progress)
    if opened.data is not None and kind in (domains.BOX, domains.FILE, domains.NON_NEGATIVE):
        for first, name, values in _batches(opened.data, found, progress):
            domains.check_covers(found[name], values, first)
    fixed = {
        name: domains.box(name, feed.of(1)[0], feed.of(1)[0], opened.network.inputs[name])
        for name, feed in opened.prepared.constant_feeds.items()
        if name in opened.network.inputs
    }
    return Domains(kind, found, domains.completed(opened.network, {**found, **fixed}))


def _kind(opened: Opened, targets: Sequence[Target], arguments: Mapping[str, Any]) -> str:
    """The kind that was asked for, or that what was given calls for."""
    box, file, data = bool(arguments["box"]), arguments["ranges"] is not None, opened.data is not None
    kind: str | None = arguments["domain"]
    if box and file:
        raise UsageError("ranges are given by --box and by --ranges: give one of them")
    if kind is None:
        kind = domains.BOX if box else domains.FILE if file else domains.DATA if data else None
    if kind is None:
        open_site = unbounded(opened.network, targets)
        if open_site is None:
            return ANY
        raise UsageError(
            f"for which inputs? {printable(open_site)} is not bounded by normalisation: give --domain box with "
            "--box 0:1, --domain data with --data, --domain non-negative, or --domain any"
        )
    for option, there, needs in (("--box", box, domains.BOX), ("--ranges", file, domains.FILE)):
        if there != (kind == needs):
            raise UsageError(
                f"--domain {kind} takes no {option}: leave one of them out"
                if there
                else f"--domain {kind} needs {option}"
                + (", such as --box 0:1" if box is False and kind == needs and needs == domains.BOX else "")
            )
    if kind in (domains.DATA, domains.HULL) and not data:
        raise UsageError(f"--domain {kind} is taken from data: give --data")
    if arguments["margin"] and kind not in (domains.DATA, domains.HULL):
        raise UsageError(f"--margin widens what data cover: it is for --domain data and hull, not {kind}")
    return kind


def unbounded(network: Network, targets: Sequence[Target]) -> str | None:
    """The first site whose z has no bound where inputs may be anything; None where all have."""
    known = ranges(network, domains.completed(network, {}))
    for target in targets:
        if not np.isfinite(known.boxes[target.pre].hi).all():
            return target.site
    return None


def _of_data(
    opened: Opened, kind: str, shapes: Mapping[str, tuple[int, ...]], margin: float, progress: Progress
) -> dict[str, Stated]:
    assert opened.data is not None
    fed = {name: shape for name, shape in shapes.items() if name in opened.data.data_inputs}
    source = str(opened.data.describe()["path"] or "arrays")
    if kind == domains.DATA:
        seen = {name: domains.Seen(name, shape) for name, shape in fed.items()}
        for _, name, values in _batches(opened.data, seen, progress):
            seen[name].add(values)
        return {name: each.stated(margin, source=source) for name, each in seen.items()}
    size = opened.data.samples * sum(int(np.prod(shape)) for shape in fed.values())
    if size > _MOST_POINTS:
        raise UsageError(
            f"the hull of {size:,} values is too large: use fewer samples with --limit, or --domain data"
        )
    points: dict[str, list[NDArray[Any]]] = {name: [] for name in fed}
    for _, name, values in _batches(opened.data, points, progress):
        points[name].append(np.asarray(values))
    return {
        name: domains.hull(name, np.concatenate(parts), fed[name], margin, source=source)
        for name, parts in points.items()
    }


def _batches(
    data: Calibration, wanted: Mapping[str, Any], progress: Progress
) -> Iterator[tuple[int, str, NDArray[Any]]]:
    """(number of the first, input, values [b, …]) for all samples and the inputs that are wanted."""
    step = _BLOCK if data.batchable else 1
    for first in range(0, data.samples, step):
        progress("reading the data", first, data.samples)
        feeds = data.feeds(np.arange(first, min(first + step, data.samples)))
        for name, values in feeds.items():
            if name in wanted:
                yield first, name, values if data.batchable else _one(values, wanted[name])


def _one(values: NDArray[Any], wanted: Any) -> NDArray[Any]:
    """A sample of a model that takes one a run, with an axis for it: some inputs have none of their own."""
    shape = getattr(wanted, "shape", None) or getattr(getattr(wanted, "box", None), "shape", None)
    return values[None] if shape is not None and values.shape == shape else values
