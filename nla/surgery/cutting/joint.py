"""The joint cut: one pass over the graph, repeated without what a node declined, until every node agrees."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from nla.checkpoint.editing import ModelEdit
from nla.errors import printable
from nla.graph import drafts, query
from nla.graph.channels import NOBODY, Channels
from nla.graph.sources import SiteSource
from nla.surgery.cutting import (
    attention,
    elementwise,
    joining,
    layout,
    normalising,
    pooling,
    positions,
    recurrent,
    unknown,
    weighted,
)
from nla.surgery.cutting.carrying import carry_out
from nla.surgery.cutting.masks import Gone
from nla.surgery.cutting.relating import relate
from nla.surgery.cutting.sizes import SIZED
from nla.surgery.cutting.wanted import Unit, Wanted
from nla.surgery.cutting.widths import Widths
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named
from nla.surgery.structure import Structure

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **joining.RULES,
    **layout.RULES,
    **normalising.RULES,
    **pooling.RULES,
    **positions.RULES,
}


@dataclass(frozen=True)
class Cut:
    """What left the graph, and what did not."""

    done: tuple[Unit, ...] = ()
    refused: dict[Unit, str] = field(default_factory=dict)
    for_width: frozenset[Unit] = frozenset()
    """Of the refused, those that could leave but for the width of their layer."""
    groups: frozenset[int] = frozenset()
    """The channel groups that left."""


def cut(edit: ModelEdit, structure: Structure, wanted: Wanted, round_to: int = 1) -> Cut:
    """Cut the wanted units out of the graph, with all that leaves with them, as far as every node can follow."""
    widths = Widths(structure, round_to)
    declined: dict[int, str] = {}
    asked = set(wanted.groups.values())
    while True:
        leaving = widths.settled(asked - set(declined))
        work, unfit = _pass(edit, structure, wanted, leaving)
        if not unfit:
            break
        declined.update(unfit)
    carry_out(work)
    return _outcome(wanted, leaving, declined, widths)


def _outcome(wanted: Wanted, leaving: Collection[int], declined: dict[int, str], widths: Widths) -> Cut:
    done = tuple(unit for unit, group in wanted.groups.items() if group in leaving)
    refused, for_width = dict(wanted.refused), set()
    for unit, group in wanted.groups.items():
        if group in declined:
            refused[unit] = declined[group]
        elif group not in leaving:
            refused[unit] = widths.reasons[group]
            for_width.add(unit)
    return Cut(done, refused, frozenset(for_width), frozenset(leaving))


def _pass(
    edit: ModelEdit, structure: Structure, wanted: Wanted, leaving: Collection[int]
) -> tuple[Work, dict[int, str]]:
    """(what the rules ask for, groups that a node declined and why)"""
    work = Work(edit, structure, leaving, wanted.merges)
    unfit: dict[int, str] = {}
    for node in work.walk.nodes if leaving else ():
        if all(value in work.constants for value in node.outputs if value.name):
            continue
        work.sizes.visit(node)
        groups = _groups(work, node)
        if not groups:
            continue
        try:
            _visit(work, node, wanted)
        except Unfit as found:
            declining = groups if found.groups is None else found.groups
            reason = _told(structure, wanted, found, declining)
            for group in sorted(declining):
                unfit.setdefault(group, reason)
    return work, unfit


def _groups(work: Work, node: ir.Node) -> frozenset[int]:
    """The groups that leave what the node reads or makes, or whose sizes it computes with."""
    found: set[int] = set()
    for gone in work.touched(node):
        found.update(int(group) for group in np.unique(gone.groups[gone.flags]))
    for value in query.operands(node):
        found |= work.sizes.changed(value)
    return frozenset(found)


def _visit(work: Work, node: ir.Node, wanted: Wanted) -> None:
    """Contents first, for the rule may need those of the outputs."""
    rule = _rule(work, node)
    _check_sizes(work, node)
    if not work.touched(node) and not work.sizes.stated(node):
        return  # it computes with sizes, and those are known
    if rule is None:
        raise Unfit(f"{named(node)} cannot be cut")
    for gone in work.touched(node):
        ragged = gone.ragged()
        if len(ragged):
            raise Unfit(
                f"{named(node)} has its channels on several axes, of which only whole slices leave", ragged
            )
    work.proto(node)
    _check_branches(work, node)
    carried = list(rule.carry(work, node))
    for at, value in enumerate(node.outputs):
        _note(work, node, value, carried[at] if at < len(carried) else None, wanted)
    if work.merges:
        relate(work, node)
    rule.cut(work, node)
    work.requests.shrunk.update(query.name(value) for value in node.outputs if work.gone(value) is not None)


def _rule(work: Work, node: ir.Node) -> Rule | None:
    if node in work.products:
        return attention.RULE
    if node in work.walk.layers:
        return weighted.RULE
    if node in work.walk.cells:
        return recurrent.RULE
    return RULES.get(query.kind(node))


def _check_sizes(work: Work, node: ir.Node) -> None:
    """Raises Unfit where a number is computed of sizes that change, unless a rule compares it later."""
    for at, value in enumerate(node.inputs):
        groups = work.sizes.changed(value)
        if groups and at not in SIZED.get(query.kind(node), ()) and not _followed(work, node):
            raise Unfit(f"{named(node)} computes with the number of channels", groups)


def _check_branches(work: Work, node: ir.Node) -> None:
    """Raises Unfit where a body of control flow in the file, perhaps one that is never run here, reads an output."""
    for value in node.outputs:
        name, gone = query.name(value), work.gone(value)
        for reader in () if gone is None else work.edit.readers(name):
            if name not in reader.input:
                raise Unfit(
                    f"'{printable(name)}' is read in a branch of {reader.op_type} '{printable(reader.name)}', where "
                    "nothing is cut",
                    np.unique(gone.groups[gone.flags]) if gone is not None else None,
                )


def _followed(work: Work, node: ir.Node) -> bool:
    """True for a computation of sizes of which every result is known."""
    return all(work.sizes.known(value) for value in node.outputs if value.name)


def _note(work: Work, node: ir.Node, value: ir.Value, content: Content | None, wanted: Wanted) -> None:
    """Keep the output's content: what the node makes of its inputs', and at a site what the manifest says."""
    gone, fact = work.gone(value), work.flow.channels(value)
    if gone is None or fact is None:
        return
    whole = np.full(gone.flags.shape, np.nan) if content is None else np.array(content, np.float64)
    for source in fact.sources():
        _begin(work, node, value, (fact, gone, source), whole, wanted)
    draft, values = work.structure.drafts.get(query.name(value)), wanted.values.get(query.name(value))
    if draft is not None and values is not None and draft.what.found == drafts.HEAD:
        units = np.arange(whole.size).reshape(whole.shape) // draft.unit_size
        whole = np.where(
            gone.flags, values[units], whole
        )  # the walk has heads from the reader on, perhaps later
    work.contents[value] = whole
    unknown.note(work, node, value, whole)


def _begin(
    work: Work,
    node: ir.Node,
    value: ir.Value,
    where: tuple[Channels, Gone, int],
    whole: Content,
    wanted: Wanted,
) -> None:
    """Write the manifest's values over the content where a site's neurons begin."""
    fact, gone, source = where
    entry = work.flow.sources.entries[source]
    if not isinstance(entry, SiteSource):
        return
    draft = work.walk.drafts[entry.site]
    if draft.what.found == drafts.HEAD:
        return
    before = [work.flow.channels(operand) for operand in query.operands(node)]
    begins = not any(part is not None and source in part.sources() for part in before)
    if not begins and value is not draft.value:
        return
    if value.dtype is not None and value.dtype.numpy().kind in "iub":
        whole[...] = np.nan  # quantised: the values are those of the dequantised tensor
        return
    values = wanted.values.get(query.name(draft.value))
    sources, index = (part.reshape(fact.index.shape) for part in fact.flat())
    mine = (sources == source) & (sources != NOBODY) & gone.flags
    whole[mine] = np.nan if values is None else values[index[mine]]


def _told(structure: Structure, wanted: Wanted, found: Unfit, groups: Collection[int]) -> str:
    """The reason, and where a unit that is not silent leaves with them, that."""
    if "not known" not in found.reason:
        return found.reason
    for name in structure.drafts:
        values = wanted.values.get(name)
        everyone = structure.coupling.everyone(name)
        alive = np.isin(everyone, list(groups)) & (True if values is None else np.isnan(values))
        if alive.any():
            unit = int(np.flatnonzero(alive)[0])
            return (
                f"{found.reason}: unit {unit} of '{printable(name)}' would leave with them, and it is alive"
            )
    return found.reason
