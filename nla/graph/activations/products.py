"""Decomposed forms of z·F(z): GELU with Erf or Tanh, SiLU, HardSwish, Mish; and HardSigmoid by a Clip.

From each F the graph is walked forward through multiplications and additions, keeping the expression (c0 +
c1·F)·zᵖ with p in {0, 1}. Whatever the order in which an exporter wrote the factors, the form ends where
the expression is that of a known activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations.clips import bounds
from nla.graph.activations.fractions import softplus
from nla.graph.activations.pattern import KEEPING, Pattern, Polynomial, Scalars, close, equals, polynomial
from nla.graph.constants import Constants

_LONGEST = 20
"""Nodes from F to the end of a form; in a quantised graph two of three are quantisations."""

_STATES = 48
_READERS = 6

_TANH = math.sqrt(2 / math.pi)


@dataclass(frozen=True, eq=False)
class _Expression:
    """(c0 + c1·F)·z at `value` where z is set, else c0 + c1·F."""

    value: ir.Value
    nodes: tuple[ir.Node, ...]
    c0: float = 0.0
    c1: float = 1.0
    z: ir.Value | None = None


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation whose F is the node."""
    seed, argument = query.output(node), _argument(node, constants)
    if seed is None or argument is None:
        return
    scalars = Scalars(constants)
    pending = [_Expression(seed, (node,))]
    for _ in range(_STATES):
        if not pending:
            return
        expression = pending.pop(0)
        found = _match(node, argument, expression, constants)
        if found is not None:
            z, activation, inner = found
            yield Pattern(activation, z, expression.value, frozenset((*expression.nodes, *inner)))
            if expression.z is not None:
                return  # a product is an end; a HardSigmoid may go on to be a HardSwish
        if len(expression.nodes) <= _LONGEST:
            pending.extend(_steps(expression, argument, scalars))


def _argument(node: ir.Node, constants: Constants) -> ir.Value | None:
    kind = query.kind(node)
    if kind in ("Erf", "Tanh", "Sigmoid", "HardSigmoid"):
        return query.operand(node, 0)
    if kind in ("Clip", "Min"):
        found = _clipped(node, constants)
        return None if found is None else found[0]
    return None


def _clipped(node: ir.Node, constants: Constants) -> tuple[ir.Value, float, tuple[ir.Node, ...]] | None:
    """(argument, high, nodes) of a clip to [0, high], written as one node or as Min over Max or Relu."""
    found = bounds(node, constants)
    if found is None:
        return None
    value, (low, high) = found
    nodes: tuple[ir.Node, ...] = (node,)
    inner = value.producer()
    if math.isinf(low) and inner is not None:
        below = bounds(inner, constants)
        if below is None:
            return None
        value, low, nodes = below[0], below[1][0], (node, inner)
    return (value, high, nodes) if low == 0 and math.isfinite(high) else None


def _steps(expression: _Expression, argument: ir.Value, scalars: Scalars) -> Iterator[_Expression]:
    for reader in query.readers(expression.value, _READERS):
        made = query.output(reader)
        if made is None:
            continue
        after = replace(expression, value=made, nodes=(*expression.nodes, reader))
        kind = query.kind(reader)
        if kind in KEEPING:
            yield after
        elif kind in ("Mul", "Div", "Add", "Sub", "Sum"):
            yield from _arithmetic(reader, expression, after, argument, scalars)


def _arithmetic(
    node: ir.Node, before: _Expression, after: _Expression, argument: ir.Value, scalars: Scalars
) -> Iterator[_Expression]:
    partner, kind, constants = query.other(node, before.value), query.kind(node), scalars.constants
    if partner is None:
        return
    number = constants.scalar(partner)
    if number is not None:
        if kind == "Mul":
            yield replace(after, c0=before.c0 * number, c1=before.c1 * number)
        elif kind == "Div" and number and query.operand(node, 0) is before.value:
            yield replace(after, c0=before.c0 / number, c1=before.c1 / number)
        elif kind in ("Add", "Sum") and before.z is None:
            yield replace(after, c0=before.c0 + number)
        elif kind == "Sub" and before.z is None and query.operand(node, 0) is before.value:
            yield replace(after, c0=before.c0 - number)
    elif kind == "Mul" and before.z is None and partner not in constants:
        for value, factor, nodes in scalars.chain(partner):
            if _of(argument, value, constants) is not None:
                scaled = (before.c0 * factor, before.c1 * factor)
                yield replace(after, z=value, c0=scaled[0], c1=scaled[1], nodes=(*after.nodes, *nodes))


def _of(argument: ir.Value, z: ir.Value, constants: Constants) -> Polynomial | None:
    """The argument as a polynomial of z; that of tanh in Mish, softplus(z), as {-1: 1}."""
    found = polynomial(argument, z, constants)
    if found is None:
        inner = softplus(argument, constants)
        return {-1: 1.0} if inner is not None and inner[0] is z else None
    return found


def _match(
    seed: ir.Node, argument: ir.Value, expression: _Expression, constants: Constants
) -> tuple[ir.Value, Activation, tuple[ir.Node, ...]] | None:
    kind, z = query.kind(seed), expression.z
    if z is None:
        return _hard_sigmoid(seed, argument, expression, constants)
    of = _of(argument, z, constants)
    inner = _between(argument, z)
    half = close(expression.c0, 0.5) and close(expression.c1, 0.5)
    whole = abs(expression.c0) < 1e-9 and close(expression.c1, 1.0)
    activation = None
    if kind == "Erf" and half and equals(of, z1=math.sqrt(0.5)):
        activation = Activation.named("Gelu")
    elif kind == "Tanh" and half and equals(of, z1=_TANH, z3=_TANH * 0.044715):
        activation = Activation.named("Gelu", approximate=1.0)
    elif kind == "Tanh" and whole and of == {-1: 1.0}:
        activation = Activation.named("Mish")
        inner = (*inner, *(softplus(argument, constants) or (z, ()))[1])
    elif kind == "Sigmoid" and whole and of is not None:
        activation = _swish(of)
    elif kind == "HardSigmoid" and whole and equals(of, z1=1.0):
        alpha, beta = query.real(seed, "alpha", 0.2), query.real(seed, "beta", 0.5)
        activation = Activation.named("HardSwish") if close(alpha, 1 / 6) and close(beta, 0.5) else None
    elif kind in ("Clip", "Min"):
        activation, inner = (
            _hard_swish(seed, of, expression, constants),
            (*inner, *_clip_nodes(seed, constants)),
        )
    return None if activation is None else (z, activation, inner)


def _swish(of: Polynomial) -> Activation | None:
    if equals(of, z1=2 * _TANH, z3=2 * _TANH * 0.044715):  # (1 + tanh u) / 2 is the sigmoid of 2u
        return Activation.named("Gelu", approximate=1.0)
    return Activation.named("Swish", alpha=of[1]) if set(of) == {1} and of[1] > 0 else None


def _hard_swish(
    seed: ir.Node, of: Polynomial | None, expression: _Expression, constants: Constants
) -> Activation | None:
    found = _clipped(seed, constants)
    if found is None or abs(expression.c0) > 1e-9:
        return None
    six = close(found[1], 6.0) and close(expression.c1, 1 / 6) and equals(of, z0=3.0, z1=1.0)
    one = close(found[1], 1.0) and close(expression.c1, 1.0) and equals(of, z0=0.5, z1=1 / 6)
    return Activation.named("HardSwish") if six or one else None


def _hard_sigmoid(
    seed: ir.Node, argument: ir.Value, expression: _Expression, constants: Constants
) -> tuple[ir.Value, Activation, tuple[ir.Node, ...]] | None:
    """Clip(α·z + β, 0, 1), or the same times six."""
    found = _clipped(seed, constants) if query.kind(seed) in ("Clip", "Min") else None
    if found is None or abs(expression.c0) > 1e-9 or not close(expression.c1 * found[1], 1.0):
        return None
    z, nodes = _affine_start(argument, constants)
    of = polynomial(argument, z, constants)
    if of is None or set(of) != {0, 1} or not of[0] or of[1] <= 0:
        return None
    alpha, beta = of[1] * expression.c1, of[0] * expression.c1
    return z, Activation.named("HardSigmoid", alpha=alpha, beta=beta), (*nodes, *found[2])


def _affine_start(value: ir.Value, constants: Constants) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """Walks back through one added and one multiplied scalar: the z of α·z + β, and the nodes."""
    nodes: list[ir.Node] = []
    for kinds in (("Add", "Sub"), ("Mul", "Div")):
        node = value.producer()
        if node is None or query.kind(node) not in kinds or len(query.operands(node)) != 2:
            break
        left, right = query.operands(node)
        if constants.scalar(right) is not None and left not in constants:
            value = left
        elif (
            constants.scalar(left) is not None
            and right not in constants
            and query.kind(node) in ("Add", "Mul")
        ):
            value = right
        else:
            break
        nodes.append(node)
    return value, tuple(nodes)


def _clip_nodes(seed: ir.Node, constants: Constants) -> tuple[ir.Node, ...]:
    found = _clipped(seed, constants)
    return () if found is None else found[2]


def _between(value: ir.Value, z: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes of the polynomial from z to value."""
    found: dict[ir.Node, None] = {}
    pending = [value]
    while pending and len(found) < 24:
        current = pending.pop()
        node = current.producer()
        if current is z or node is None or node in found or query.kind(node) == "Constant":
            continue
        if query.kind(node) in ("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Sum", *KEEPING):
            found[node] = None
            pending.extend(query.operands(node))
    return tuple(found)
