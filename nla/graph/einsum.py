"""Einsum as a weighted node and as attention: its letters say which axes are contracted and which are made."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from nla.graph import query


@dataclass(frozen=True)
class Terms:
    """The letters of an Einsum of two operands; a leading ellipsis is left out, for axes count from the end."""

    left: str
    right: str
    out: str

    def swapped(self) -> Terms:
        """The same with its operands exchanged."""
        return Terms(self.right, self.left, self.out)


def terms(node: ir.Node) -> Terms | None:
    """The node's letters; None where it is no Einsum of two operands with distinct letters and an output."""
    if query.kind(node) != "Einsum" or len(query.operands(node)) != 2:
        return None
    equation = query.text(node, "equation").replace(" ", "")
    inputs, arrow, out = equation.partition("->")
    parts = inputs.split(",")
    if not arrow or len(parts) != 2:
        return None
    found = [part.removeprefix("...") for part in (*parts, out)]
    if any(not part.isalpha() or len(set(part)) != len(part) for part in found):
        return None
    return Terms(*found)


def places(letters: str, term: str) -> tuple[int, ...]:
    """The axes of the letters in a term, from the end, in the term's order."""
    return tuple(at - len(term) for at, letter in enumerate(term) if letter in letters)
