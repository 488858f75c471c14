"""For which inputs: what the options say of the domain, as a set for each input and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import Calibration
from nla.certificates import domain_files, domains
from nla.certificates.domains import Stated
from nla.certificates.interval import ranges
from nla.certificates.network import Network, Target
from nla.certificates.sets import Domain, Hull
from nla.certifying.opened import ANY, Opened
from nla.errors import UsageError, printable

_BLOCK = 256
_MOST_POINTS = 1 << 27
"""Values that the points of a hull may hold."""
ASSUMES = {
    ANY: "any input: what is proved follows from the weights and from normalisation alone",
    domains.BOX: "every input within the ranges given",
    domains.FILE: "every input within the ranges of the file",
    domains.DATA: "every input within the range of each element over the data, seen or not",
    domains.HULL: "every input in the convex hull of the data, seen or not",
    domains.NON_NEGATIVE: "every input without negative elements, of any size",
    domains.OBSERVED: "every input that keeps what the layer of each site reads within the range of each element over "
    "the data; which inputs do, shows only when they are run",
}
_OF_DATA = (domains.DATA, domains.HULL, domains.OBSERVED)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Domains:
    """What was stated, and what that makes of every input of the network."""

    kind: str
    assumes: str
    """In words."""
    stated: Mapping[str, Stated]
    """By tensor: by input or, where it is observed, by what layers read."""
    sets: Mapping[str, Domain]
    """For each input of the network, or of the layers."""
    layers: Mapping[str, Network] = field(default_factory=dict)
    """By site, where its domain is of what its layer reads: the network from there to z."""

    def network(self, whole: Network, site: str) -> Network:
        """The network that the proofs about a site are made on."""
        return self.layers.get(site, whole)

    def points(self) -> dict[str, NDArray[np.float64]]:
        """[points, *shape] by input where the domain is the hull of data; an input of one value is one point."""
        found = {
            name: each.points if isinstance(each, Hull) else each.box.lo[None]
            for name, each in self.sets.items()
            if isinstance(each, Hull) or np.array_equal(each.box.lo, each.box.hi)
        }
        return found if any(isinstance(each, Hull) for each in self.sets.values()) else {}

    def plain(self) -> dict[str, Any]:
        """For the document."""
        return {
            "kind": self.kind,
            "assumes": self.assumes,
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
    if kind in (domains.BOX, domains.FILE):
        kinds = {each.name: each.dtype for each in opened.prepared.inputs}
        found = {name: domains.as_read(each, kinds.get(name, "")) for name, each in found.items()}
        for name, each in found.items():
            if kinds.get(name, "").startswith(("int", "uint", "bool")):
                domains.check_whole(each)
    if opened.data is not None and kind in (domains.BOX, domains.FILE, domains.NON_NEGATIVE):
        for first, name, values in _batches(opened.data, found, progress):
            domains.check_covers(found[name], values, first)
    fixed = {
        name: domains.box(name, feed.of(1)[0], feed.of(1)[0], opened.network.inputs[name])
        for name, feed in opened.prepared.constant_feeds.items()
        if name in opened.network.inputs
    }
    return Domains(kind, ASSUMES[kind], found, domains.completed(opened.network, {**found, **fixed}))


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
    check_given(kind, arguments, has_data=data)
    return kind


def check_given(kind: str, arguments: Mapping[str, Any], *, has_data: bool) -> None:
    """Make sure that what was given beside a kind of domain belongs to it. Raises UsageError."""
    box, file = bool(arguments["box"]), arguments["ranges"] is not None
    for option, there, needs in (("--box", box, domains.BOX), ("--ranges", file, domains.FILE)):
        if there and kind != needs:
            raise UsageError(f"--domain {kind} takes no {option}: leave one of them out")
        if kind == needs and not there:
            example = ", such as --box 0:1" if needs == domains.BOX else ""
            raise UsageError(f"--domain {kind} needs {option}{example}")
    if kind in _OF_DATA and not has_data:
        raise UsageError(f"--domain {kind} is taken from data: give --data")
    if arguments["margin"] and kind not in _OF_DATA:
        raise UsageError(
            f"--margin widens what data cover: it is for --domain {', '.join(_OF_DATA)}, not {kind}"
        )


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
