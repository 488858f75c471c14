"""Who reads a site's units: the columns of the weighted nodes behind it, and what arrives there.

Zeroing a unit's columns takes from every reader what the unit gave it. Where that is a constant, or has a known
mean, the readers' biases take it over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto

from nla.checkpoint.editing import ModelEdit
from nla.errors import printable
from nla.graph import query
from nla.graph.channels import NOBODY
from nla.graph.sources import Join, Use
from nla.surgery.structure import Structure
from nla.surgery.weights.arriving import Carried, Unknown
from nla.surgery.weights.biases import Bias
from nla.surgery.weights.layout import Layout, layout
from nla.surgery.weights.ledger import Ledger, chosen
from nla.surgery.weights.stored import claimed, located, proto_of, real_attribute, rewrite, stored

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Read:
    """One weighted node that reads the site."""

    use: Use
    node: NodeProto
    layout: Layout
    unit: Integers
    """[inputs] the unit of each input channel, NOBODY where it is none's."""
    summed: Bools
    """[inputs] True where others were added to the channel before: its column is theirs too."""
    multiplied: Bools
    """[inputs] True where the channel was multiplied with another's."""


def reads_of(edit: ModelEdit, structure: Structure, name: str) -> tuple[Read, ...] | str:
    """Everyone who reads the site's units; or why they are not all known, a sentence."""
    draft = structure.drafts.get(name)
    if draft is None:
        return "The site has no activation of its own: act on the one whose neurons it shows."
    sources = structure.walk.flow.sources
    found, complete, leak = sources.readers(draft.source, draft.neurons)
    if leak is not None:
        return f"Its units are read by {leak}, where no weights can be set to zero."
    if not complete:
        return "Its units go through more sums than are followed."
    made: dict[tuple[ir.Node, int], Read] = {}
    for use, number in found:
        read = _read(edit, structure, use, np.asarray(number, np.int64), draft.source)
        if isinstance(read, str):
            return read
        before = made.get((use.weighted.node, id(use.fact)))
        made[use.weighted.node, id(use.fact)] = read if before is None else _merged(before, read)
    return tuple(made.values()) or "No weighted layer reads its units."


def _read(edit: ModelEdit, structure: Structure, use: Use, unit: Integers, source: int) -> Read | str:
    node = use.weighted.node
    if node in structure.walk.cells:
        return f"{_named(node)}, a recurrent layer, reads its units."
    proto, lies = proto_of(edit, node), layout(use.weighted)
    if proto is None:
        return f"{_named(node)} reads its units, and is not in the main graph of the file."
    if isinstance(lies, str):
        return lies
    direct, _ = use.fact.flat()
    joins = {int(one): _is_product(structure, int(one)) for one in np.unique(direct[direct != source])}
    other = (unit != NOBODY) & (direct != source)
    product = np.array([joins.get(int(one), False) for one in direct])
    return Read(use, proto, lies, unit, other & ~product, other & product)


def _is_product(structure: Structure, source: int) -> bool:
    """True where the source is a product of channels and every one of its members is no sum."""
    entries = structure.walk.flow.sources.entries
    entry = entries[source] if source != NOBODY else None
    if not isinstance(entry, Join) or query.kind(entry.node) != "Mul":
        return False
    parts = [entries[part] for member in entry.members for part in member.sources()]
    return not any(isinstance(part, Join) for part in parts)


def _merged(one: Read, other: Read) -> Read:
    unit = np.where(one.unit == NOBODY, other.unit, one.unit)
    return Read(
        one.use, one.node, one.layout, unit, one.summed | other.summed, one.multiplied | other.multiplied
    )


def goes_on(structure: Structure, name: str) -> Iterator[tuple[str, list[int]]]:
    """Other sites whose pre-activation the units are a part of: no column of weights lies between."""
    sources, own = structure.walk.flow.sources, structure.drafts[name].source
    reached, pending = {own}, [own]
    while pending:
        for join in sources.joins.get(pending.pop(), ()):
            if join not in reached:
                reached.add(join)
                pending.append(join)
    for other, draft in structure.drafts.items():
        if other == name or reached.isdisjoint(draft.fact.sources()):
            continue
        origins = sources.origins(draft.fact)
        if origins is None:
            yield other, list(range(structure.drafts[name].neurons))
        for source, index, _ in origins or ():
            if source == own:
                yield other, [int(unit) for unit in np.unique(index[index != NOBODY])]


# --- leaving them out


@dataclass(frozen=True, eq=False)
class Leaving:
    """Units whose columns are to become zero, checked: what `leave` needs."""

    reads: tuple[Read, ...]
    arriving: tuple[Floats, ...]
    """By reader: [inputs] the value (or mean) that the columns took in, zero for channels of other units."""


def plan_leaving(
    edit: ModelEdit,
    structure: Structure,
    name: str,
    values: Mapping[int, float],
    ledger: Ledger,
    *,
    exact: bool,
) -> Leaving | None:
    """What it takes to set the columns of the ledger's units to zero; units for which it cannot be done are refused.

    `values` are what the units' activations are, or their means; `exact` asks that nothing changes where they
    are constant. Nothing is edited. None: no unit is left.
    """
    reads = reads_of(edit, structure, name)
    if isinstance(reads, str):
        ledger.refuse(ledger.left, reads)
        return None
    for other, units in goes_on(structure, name):
        ledger.refuse(
            units, f"It goes into the site '{printable(other, 80)}' with no weighted layer between."
        )
    arriving = []
    for read in reads:
        found = stored(edit, read.node, read.layout.weight)
        if isinstance(found, str):
            ledger.refuse(ledger.left, found)
            return None
        arriving.append(_arriving(edit, structure, name, read, values, ledger, exact))
    return Leaving(reads, tuple(arriving)) if ledger.left else None


def _arriving(
    edit: ModelEdit,
    structure: Structure,
    name: str,
    read: Read,
    values: Mapping[int, float],
    ledger: Ledger,
    exact: bool,
) -> Floats:
    """[inputs] what the columns of the ledger's units take in."""
    where = _named(read.use.weighted.node)
    mine = chosen(read.unit, ledger.left)
    ledger.refuse(
        read.unit[mine[read.summed[mine]]],
        f"Its channel is added to others' before {where}, whose weights are not the unit's alone.",
    )
    products = mine[read.multiplied[mine]]
    moving = [int(unit) for unit in read.unit[products] if values[int(unit)]]
    ledger.refuse(moving, f"Its channel is multiplied with another before {where}, and is not zero.")
    made = np.zeros(len(read.unit))
    plain = mine[~read.multiplied[mine] & ~read.summed[mine]]
    if len(plain):
        try:
            carried = Carried(structure, name, values, exact).at(read.use.weighted.data)
        except Unknown as unknown:
            ledger.refuse(read.unit[plain], f"{unknown} before {where}.")
        else:
            made[plain] = carried[plain]
    _refuse_at_border(read, made, ledger, exact)
    return made


def _refuse_at_border(read: Read, arriving: Floats, ledger: Ledger, exact: bool) -> None:
    """Where a constant other than zero is read by what has borders, or by what can take no bias."""
    node = read.use.weighted.node
    unknown = np.isnan(arriving)
    ledger.refuse(read.unit[unknown], f"What arrives of it at {_named(node)} cannot be told.")
    moving = read.unit[(arriving != 0) & ~unknown]
    if not len(moving):
        return
    if read.layout.kind == "ConvTranspose":
        ledger.refuse(moving, f"{_named(node)} spreads its value unevenly: no bias makes up for it.")
    elif exact and read.use.weighted.spatial and _pads(node):
        ledger.refuse(
            moving, f"{_named(node)} pads with zeros: at the border a bias would not make up for it."
        )
    if not read.layout.floating:
        ledger.refuse(moving, f"{_named(node)} computes with integers: nothing is added to its output.")


def _pads(node: ir.Node) -> bool:
    return any(query.integers(node, "pads") or ()) or query.text(node, "auto_pad") in (
        "SAME_UPPER",
        "SAME_LOWER",
    )


def leave(edit: ModelEdit, structure: Structure, leaving: Leaving, units: Sequence[int]) -> None:
    """Set the columns of the units to zero; what arrived there goes into the readers' biases."""
    for read, arriving in zip(leaving.reads, leaving.arriving, strict=True):
        mine = chosen(read.unit, units)
        moving = mine[arriving[mine] != 0]
        if len(moving):
            _fold(edit, structure, read, arriving, moving)
        if len(mine):
            change_columns(edit, read, mine)


def change_columns(edit: ModelEdit, read: Read, channels: Integers) -> None:
    """Set the columns that read the channels to zero."""
    found = located(edit, read.node, read.layout.weight)
    lies, zero = read.layout, found.zero

    def clear(view: NDArray[Any]) -> None:
        zeros = None if zero is None else np.broadcast_to(zero, view.shape)
        for channel in channels:
            lies.column(view, int(channel))[...] = 0 if zeros is None else lies.column(zeros, int(channel))

    rewrite(edit, claimed(edit, found), clear)


def _fold(edit: ModelEdit, structure: Structure, read: Read, arriving: Floats, moving: Integers) -> None:
    weight = located(edit, read.node, read.layout.weight)
    real = weight.real(weight.view(edit.weight(weight.name)))
    total = np.zeros(read.layout.outputs)
    for channel in moving:
        total += read.layout.share(real, int(channel)) * arriving[channel]
    total *= real_attribute(read.node, "alpha", 1.0)
    changed = np.flatnonzero(total)
    bias = Bias(edit, structure.walk.flow.constants, read.node, read.use.weighted, read.layout)
    bias.add([int(c) for c in changed], total[changed])


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
