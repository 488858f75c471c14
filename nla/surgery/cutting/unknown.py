"""Why the value of channels that leave is not known: the place in the graph from which on it is not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.errors import printable
from nla.graph import query
from nla.surgery.cutting.work import Content, Unfit, Work, named


def note(work: Work, node: ir.Node, value: ir.Value, content: Content) -> None:
    """Remember, for the groups that leave an output with a value that is not known, where it was lost."""
    gone = work.gone(value)
    assert gone is not None  # only of such is the content asked
    groups = np.unique(gone.groups[gone.flags & np.isnan(content)])
    if not len(groups):
        return
    before: dict[int, str] = {}
    for operand in query.operands(node):
        before = work.lost.get(operand, {}) | before
    own = _cause(work, node, value)
    work.lost[value] = {group: before.get(group, own) for group in groups.tolist()}


def _cause(work: Work, node: ir.Node, value: ir.Value) -> str:
    name = query.name(value)
    if name in work.structure.drafts:
        return f"no action says what value they have at '{printable(name)}'"
    if all(work.gone(operand) is None for operand in query.operands(node)):
        return f"their value is not known to be constant behind {named(node)}"
    return f"their value is not known behind {named(node)}"


def unfit(work: Work, reader: ir.Node, data: ir.Value, groups: NDArray[np.int64]) -> Unfit:
    """For groups that `reader` reads in `data` and whose value is not known: those with the cause of the first one."""
    causes = work.lost.get(data, {})
    reasons = {int(group): _reason(work, causes, int(group), reader) for group in np.unique(groups)}
    first = next(iter(reasons.values()))
    return Unfit(first, [group for group, reason in reasons.items() if reason == first])


def _reason(work: Work, causes: dict[int, str], group: int, reader: ir.Node) -> str:
    if group in work.merges:
        return f"their value is not known where {named(reader)} reads them: no fixed multiple of what they merge into"
    if group not in causes:
        return f"their value is not known where {named(reader)} reads them"
    return f"{causes[group]}, and {named(reader)} reads them"
