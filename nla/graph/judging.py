"""Whether the channels under an activation are understood well enough to be a site, and if not, why."""

from __future__ import annotations

from nla.graph.channels import NOBODY, Channels, Fact
from nla.graph.flow import Flow
from nla.graph.sources import SiteSource


def trouble(flow: Flow, fact: Fact) -> str:
    """Why a tensor with this fact is no site, one sentence; "" where it is one."""
    if not isinstance(fact, Channels):
        return "Its input is constant." if fact is None else f"Its input comes from {fact.reason}."
    if fact.noisy:
        return "A random operator has a part in its input: its values differ from run to run."
    source, _ = fact.flat()
    strangers = int((source == NOBODY).sum())
    if strangers:
        return f"{strangers} of its {fact.size} channels come from no weighted layer."
    if not fact.distinct():
        return "Each neuron stands on several of its channels: a reshape lies between layer and activation."
    return "It follows another activation with no weighted layer between." if _repeats(flow, fact) else ""


def _repeats(flow: Flow, fact: Channels) -> bool:
    """True where the channels are those of activations found before, with nothing done per channel."""
    entries = [flow.sources.entries[source] for source in fact.sources()]
    untouched = not (fact.extra or fact.others or fact.mixed)
    return untouched and all(isinstance(entry, SiteSource) and entry.activated for entry in entries)
