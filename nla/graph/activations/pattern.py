"""What a recogniser finds, and the small algebra of scalars that decomposed forms need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.constants import Constants

CLOSE = 4e-3
"""Relative difference of constants that count as equal: half precision and rounded source code."""

_DEEPEST = 4
_TERMS = 24


@dataclass(frozen=True, eq=False)
class Pattern:
    """An activation as the graph writes it: a = φ(z)."""

    activation: Activation | None
    """None where it was seen but not understood; then `trouble` says why."""
    z: ir.Value
    output: ir.Value
    nodes: frozenset[ir.Node]
    """All nodes of the form, the last one included."""
    slope: ir.Value | None = None
    """Per-channel parameter of the activation (PRelu)."""
    hidden: bool = False
    """True where z is no tensor of the graph (a bias is added inside the operator)."""
    tentative: bool = False
    """True where it is an activation only if a weighted layer is straight before it (a quantisation)."""
    tensor: ir.Value | None = None
    """The tensor to observe, where it is not `output` itself (its dequantisation)."""
    trouble: str = ""


@dataclass
class Scalars:
    """Values of the form k·v by walking back from one through scalar factors and steps that keep elements."""

    constants: Constants
    _chains: dict[ir.Value, list[tuple[ir.Value, float, tuple[ir.Node, ...]]]] = field(default_factory=dict)

    def chain(self, value: ir.Value) -> list[tuple[ir.Value, float, tuple[ir.Node, ...]]]:
        """[(v, k, nodes between)] with value = k·v, the value itself (k = 1) first."""
        if value not in self._chains:
            self._chains[value] = self._walk(value)
        return self._chains[value]

    def _walk(self, value: ir.Value) -> list[tuple[ir.Value, float, tuple[ir.Node, ...]]]:
        found: list[tuple[ir.Value, float, tuple[ir.Node, ...]]] = [(value, 1.0, ())]
        for _ in range(_DEEPEST):
            current, factor, nodes = found[-1]
            node = current.producer()
            step = None if node is None else self.scaled(node)
            if node is None or step is None:
                break
            found.append((step[0], factor * step[1], (*nodes, node)))
        return found

    def scaled(self, node: ir.Node) -> tuple[ir.Value, float] | None:
        """(v, k) where the node's output is k·v, else None."""
        kind = query.kind(node)
        if kind in KEEPING:
            value = query.operand(node, 0)
            return None if value is None else (value, 1.0)
        if kind == "Neg" and query.operand(node, 0) is not None:
            return query.operands(node)[0], -1.0
        if kind not in ("Mul", "Div") or len(query.operands(node)) != 2:
            return None
        left, right = query.operands(node)
        factor = self.constants.scalar(right)
        if factor is not None and left not in self.constants:
            if kind == "Mul":
                return left, factor
            return (left, 1 / factor) if factor else None
        factor = self.constants.scalar(left) if kind == "Mul" else None
        return (right, factor) if factor is not None and right not in self.constants else None


KEEPING = ("Identity", "Cast", "Transpose", "Dropout", "QuantizeLinear", "DequantizeLinear")
"""Operators that change no element but by rounding; a transposed branch of a form is still the form."""


def plain(value: ir.Value) -> ir.Value:
    """The value before steps that change no element."""
    for _ in range(2 * _DEEPEST):
        node = value.producer()
        if node is None or query.kind(node) not in KEEPING or not query.operands(node):
            break
        value = query.operands(node)[0]
    return value


Polynomial = dict[int, float]


def polynomial(value: ir.Value, z: ir.Value, constants: Constants) -> Polynomial | None:
    """The coefficients by degree where `value` is a polynomial of `z` with scalar coefficients, else None."""
    done: dict[ir.Value, Polynomial | None] = {z: {1: 1.0}}
    pending = [value]
    steps = 0
    while pending:
        steps += 1
        if steps > 2 * _TERMS:
            return None
        current = pending[-1]
        if current in done:
            pending.pop()
            continue
        scalar = constants.scalar(current)
        node = current.producer()
        if scalar is not None:
            done[current] = {0: scalar}
        elif node is None or current in constants or query.kind(node) not in _ALGEBRA:
            return None
        else:
            parts = query.operands(node)[: 1 if query.kind(node) in KEEPING else None]
            missing = [v for v in parts if v not in done]
            if missing:
                pending.extend(missing)
                continue
            done[current] = _apply(node, [done[v] for v in parts])
            if done[current] is None:
                return None
        pending.pop()
    return done[value]


def _apply(node: ir.Node, parts: list[Polynomial | None]) -> Polynomial | None:
    known = [part for part in parts if part is not None]
    rule = _ALGEBRA.get(query.kind(node))
    return rule(known) if rule is not None and known and len(known) == len(parts) else None


def _sum(parts: list[Polynomial], sign: float = 1.0) -> Polynomial:
    total = dict(parts[0])
    for part in parts[1:]:
        for degree, c in part.items():
            total[degree] = total.get(degree, 0.0) + sign * c
    return total


def _scaled(polynomial: Polynomial, factor: float) -> Polynomial:
    return {degree: c * factor for degree, c in polynomial.items()}


def _product(parts: list[Polynomial]) -> Polynomial | None:
    return _times(parts[0], parts[1]) if len(parts) == 2 else None


def _quotient(parts: list[Polynomial]) -> Polynomial | None:
    number = _number(parts)
    return _scaled(parts[0], 1 / number) if number else None


def _power(parts: list[Polynomial]) -> Polynomial | None:
    exponent = _number(parts)
    if exponent not in (1.0, 2.0, 3.0):
        return None
    power = parts[0]
    for _ in range(int(exponent) - 1):
        power = _times(power, parts[0])
    return power


def _number(parts: list[Polynomial]) -> float | None:
    """The second operand where it is a number."""
    return parts[1][0] if len(parts) == 2 and set(parts[1]) == {0} else None


_ALGEBRA: dict[str, Callable[[list[Polynomial]], Polynomial | None]] = {
    **dict.fromkeys(KEEPING, lambda parts: parts[0]),
    "Neg": lambda parts: _scaled(parts[0], -1.0),
    "Add": _sum,
    "Sum": _sum,
    "Sub": lambda parts: _sum(parts, -1.0),
    "Mul": _product,
    "Div": _quotient,
    "Pow": _power,
}


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for a, x in left.items():
        for b, y in right.items():
            if a + b <= 6 and x and y:
                result[a + b] = result.get(a + b, 0.0) + x * y
    return result


def close(found: float, wanted: float) -> bool:
    """True where two constants are the same but for rounding."""
    return abs(found - wanted) <= CLOSE * max(abs(wanted), 1e-6)


def equals(found: Polynomial | None, **wanted: float) -> bool:
    """True where the polynomial has these coefficients (`z1=0.5` is degree 1) and no others."""
    if found is None:
        return False
    expected = {int(key[1:]): value for key, value in wanted.items()}
    kept = {degree for degree, c in found.items() if abs(c) > 1e-9}
    return kept == set(expected) and all(close(found[d], c) for d, c in expected.items())
