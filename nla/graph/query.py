"""Questions to a node and its values that need no analysis: attributes, names, order, operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

STANDARD = ("", "ai.onnx")
"""Domains whose operators bear their plain name here; others are written `domain.Operator`."""

CONTROL_FLOW = ("If", "Loop", "Scan")

SIZES = ("Shape", "Size")
"""Operators that read a tensor's size and nothing that it holds."""

RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)
"""Operators whose output differs from run to run."""

UNREAD = frozenset((*SIZES, "ConstantOfShape", "RandomNormalLike", "RandomUniformLike", "EyeLike"))
"""Operators whose output does not depend on the values that they are given."""


def kind(node: ir.Node) -> str:
    """The operator's name, with its domain unless that is ONNX's own: `Relu`, `com.microsoft.Gelu`."""
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"


def node_name(node: ir.Node) -> str:
    """The node's name; the name of its first output where it has none (exporters may leave it out)."""
    if node.name:
        return node.name
    return next((value.name for value in node.outputs if value.name), "") or ""


def name(value: ir.Value) -> str:
    """The value's name, "" where it has none."""
    return value.name or ""


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index` of the node; None where it is left out."""
    if index >= len(node.inputs):
        return None
    value = node.inputs[index]
    return value if value is not None and value.name else None


def operands(node: ir.Node) -> tuple[ir.Value, ...]:
    """The inputs that are not left out."""
    return tuple(value for value in node.inputs if value is not None and value.name)


def output(node: ir.Node, index: int = 0) -> ir.Value | None:
    """Output `index` of the node; None where it is left out."""
    return node.outputs[index] if index < len(node.outputs) and node.outputs[index].name else None


def _attribute(node: ir.Node, key: str, kind_of: ir.AttributeType) -> ir.Attr | None:
    found = node.attributes.get(key)
    return found if found is not None and not found.is_ref() and found.type == kind_of else None


def integer(node: ir.Node, key: str, default: int = 0) -> int:
    """The integer attribute `key`, or the default where it is absent or of another type."""
    found = _attribute(node, key, ir.AttributeType.INT)
    return default if found is None else found.as_int()


def real(node: ir.Node, key: str, default: float) -> float:
    """The float attribute `key`, or the default where it is absent or of another type."""
    found = _attribute(node, key, ir.AttributeType.FLOAT)
    return default if found is None else found.as_float()


def text(node: ir.Node, key: str, default: str = "") -> str:
    """The string attribute `key`, or the default where it is absent or of another type."""
    found = _attribute(node, key, ir.AttributeType.STRING)
    return default if found is None else found.as_string()


def integers(node: ir.Node, key: str) -> tuple[int, ...] | None:
    """The attribute `key`, a list of integers; None where it is absent."""
    found = _attribute(node, key, ir.AttributeType.INTS)
    return None if found is None else tuple(found.as_ints())


def reals(node: ir.Node, key: str) -> tuple[float, ...] | None:
    """The attribute `key`, a list of floats; None where it is absent."""
    found = _attribute(node, key, ir.AttributeType.FLOATS)
    return None if found is None else tuple(found.as_floats())


def tensor_attribute(node: ir.Node, key: str) -> ir.TensorProtocol | None:
    """The tensor attribute `key`; None where it is absent."""
    found = _attribute(node, key, ir.AttributeType.TENSOR)
    return None if found is None else found.as_tensor()


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of a control-flow node."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def inner_nodes(node: ir.Node) -> Iterator[ir.Node]:
    """All nodes in the bodies of a control-flow node, at every depth."""
    pending = list(subgraphs(node))
    while pending:
        for inner in pending.pop():
            yield inner
            pending.extend(subgraphs(inner))


def is_control_flow(node: ir.Node) -> bool:
    """True for If, Loop and Scan (and whatever else holds a graph)."""
    return kind(node) in CONTROL_FLOW or next(subgraphs(node), None) is not None


def in_order(graph: ir.Graph) -> list[ir.Node]:
    """The graph's nodes, each after those it reads; as stored where that is so, else by Kahn's algorithm.

    Nodes on a cycle are left out: no order can run them.
    """
    nodes = list(graph)
    place = {node: at for at, node in enumerate(nodes)}
    if all(place[before] < place[node] for node in nodes for before in _read(node, place)):
        return nodes
    waiting = {node: len(_read(node, place)) for node in nodes}
    readers: dict[ir.Node, list[ir.Node]] = {node: [] for node in nodes}
    for node in nodes:
        for before in _read(node, place):
            readers[before].append(node)
    ready = [node for node in reversed(nodes) if not waiting[node]]
    ordered = []
    while ready:
        node = ready.pop()
        ordered.append(node)
        for reader in readers[node]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return ordered


def captured(node: ir.Node) -> list[ir.Value]:
    """Inputs of the node, and the values of outer graphs that its bodies read."""
    values = list(operands(node))
    for inner in inner_nodes(node):
        values.extend(value for value in operands(inner) if value.graph is node.graph)
    return values


def _read(node: ir.Node, place: dict[ir.Node, int]) -> list[ir.Node]:
    values = captured(node) if is_control_flow(node) else operands(node)
    makers = (value.producer() for value in values)
    return [maker for maker in makers if maker is not None and maker in place]


def other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other operand of a node with two; `value` itself for x·x; None where there are not two."""
    inputs = operands(node)
    if len(inputs) != 2:
        return None
    return inputs[1] if inputs[0] is value else inputs[0]


def readers(value: ir.Value, limit: int) -> list[ir.Node]:
    """The nodes that read the value, each once, at most `limit` of them."""
    seen: dict[ir.Node, None] = {}
    for use in value.uses():
        seen.setdefault(use.node)
        if len(seen) >= limit:
            break
    return list(seen)


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads the value; None where several do, or the graph returns it."""
    uses = value.uses()
    nodes = {use.node for use in uses} if len(uses) <= 2 else set()
    return nodes.pop() if len(nodes) == 1 and not value.is_graph_output() else None


def dims_of(value: ir.Value) -> tuple[int | str | None, ...] | None:
    """The shape that the graph states or onnx inferred: a size, a symbol or None for each axis."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape.dims)


def product(sizes: Sequence[int]) -> int:
    """The product of the sizes, 1 for none."""
    result = 1
    for size in sizes:
        result *= size
    return result
