"""What the producers of sites read, and how its mean is had: from the site that makes it, or from a tap of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nla.activations import Activation
from nla.site import Producer, Site
from nla.statistics.site import SiteStatistics

_IDENTITY = Activation.named("Identity")


@dataclass(frozen=True)
class InputTap:
    """A tensor that the producers of some sites read, with the mean of each of its channels to be found."""

    tensor: str
    axis: int
    """Counted from the end."""
    channels: int
    readers: tuple[int, ...]
    """Places of the sites."""

    def as_site(self) -> Site:
        """The tensor as replay taps and views it: its channels as neurons."""
        return Site(self.tensor, "linear", _IDENTITY, self.channels, (self.axis,))


def take_from_sites(
    sites: Sequence[Site],
    statistics: Sequence[SiteStatistics],
    before: Sequence[tuple[Site, SiteStatistics]] = (),
) -> frozenset[int]:
    """Gives every site whose producer reads the tensor of another site the means that are known there.

    `before` are sites that are not among these, but whose tensors may be read.

    The places of all sites that need no tap: they have their means, or the mean of their inputs says nothing of them
    (recurrent layers read their own state too, and of several producers none is the one).
    """
    known = [*before, *zip(sites, statistics, strict=True)]
    made = {(site.name, site.channel_axes): (site, of) for site, of in known if site.unit_size == 1}
    settled = set()
    for k, site in enumerate(sites):
        producer = _single(site)
        if producer is None:
            settled.add(k)
            continue
        read = made.get((str(producer.data), (producer.data_axis,)))
        if read is not None and read[0].neurons == producer.inputs:
            statistics[k].take_inputs(read[1])
            settled.add(k)
    return frozenset(settled)


def input_taps(sites: Sequence[Site], places: Sequence[int]) -> list[InputTap]:
    """The tensors that the sites at these places read, each once."""
    readers: dict[tuple[str, int, int], list[int]] = {}
    for k in places:
        producer = _single(sites[k])
        if producer is not None:
            tensor = (str(producer.data), producer.data_axis, producer.inputs)
            readers.setdefault(tensor, []).append(k)
    return [InputTap(*tensor, tuple(found)) for tensor, found in readers.items()]


def _single(site: Site) -> Producer | None:
    """The site's producer, where it has one whose inputs can be observed."""
    if site.role == "recurrent" or len(site.producers) != 1:
        return None
    producer = site.producers[0]
    return producer if producer.data and producer.inputs else None
