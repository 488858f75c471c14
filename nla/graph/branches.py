"""If nodes whose condition is decided: the branch taken moves into the graph, the other is dropped."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from nla.errors import printable
from nla.graph.evaluate import Known, known_values
from nla.graph.inference import infer_shapes
from nla.graph.loading import all_graphs, lift_constants, replace_by_constant

_ROUNDS = 64


def resolve(model: ir.Model) -> list[str]:
    """Infer shapes, and inline decided branches until no more can be decided; notes of what was done."""
    notes: list[str] = []
    for _ in range(_ROUNDS):
        _fold(model.graph)
        failure = infer_shapes(model)
        known = known_values(model.graph)
        decisions = [(node, _decision(node, known)) for node in _ifs(model.graph)]
        for node, taken in decisions:
            if taken is not None:
                notes.append(f"{_named(node)}: its condition is always {taken}, and that branch was taken")
                _inline(model, node, taken)
        if all(taken is None for _, taken in decisions):
            break
        lift_constants(model.graph)
    undecided = list(_ifs(model.graph))
    notes += [
        f"{_named(node)} was left alone: its branch depends on the data or its shape" for node in undecided
    ]
    return [*notes, *([failure] if failure else [])]


def _ifs(graph: ir.Graph) -> Iterable[ir.Node]:
    return [node for node in graph if node.op_type == "If" and node.domain in ("", "ai.onnx")]


def _named(node: ir.Node) -> str:
    return f"If node '{printable(node.name or (node.outputs[0].name if node.outputs else ''))}'"


def _fold(graph: ir.Graph) -> None:
    """Turn integer tensors that constants alone decide into initializers: inference then sees them."""
    known = known_values(graph)
    for node in list(graph):
        found = known.get(node.outputs[0]) if len(node.outputs) == 1 else None
        if found is None or not found.complete or found.from_shape or node.op_type == "Constant":
            continue
        if found.data.dtype.kind in "iub" and not node.outputs[0].is_graph_output():
            replace_by_constant(graph, node, ir.tensor(found.data, name=node.outputs[0].name))


def _decision(node: ir.Node, known: dict[ir.Value, Known]) -> bool | None:
    """True or False where the condition is known and the branch taken can move, else None."""
    condition = known.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
    if condition is None or not condition.complete or condition.data.size != 1:
        return None
    taken = bool(condition.data.reshape(-1)[0])
    branch = _branch(node, taken)
    return taken if branch is not None and _can_move(branch, node) else None


def _branch(node: ir.Node, taken: bool) -> ir.Graph | None:
    attribute = node.attributes.get("then_branch" if taken else "else_branch")
    return attribute.value if attribute is not None and isinstance(attribute.value, ir.Graph) else None


def _can_move(branch: ir.Graph, node: ir.Node) -> bool:
    """The branch makes every output of the node itself, and takes no inputs."""
    made = {value for inner in branch for value in inner.outputs} | set(branch.initializers.values())
    return (
        not branch.inputs
        and len(branch.outputs) == len(node.outputs)
        and all(v in made for v in branch.outputs)
    )


def _inline(model: ir.Model, node: ir.Node, taken: bool) -> None:
    graph, branch, other = model.graph, _branch(node, taken), _branch(node, not taken)
    assert branch is not None
    results = list(branch.outputs)
    branch.outputs.clear()
    if other is not None:
        _detach(other)
    nodes = list(branch)
    branch.remove(nodes)
    constants = list(branch.initializers.values())
    branch.initializers.clear()
    _rename(model, nodes, constants)
    graph.insert_before(node, nodes)
    for value in constants:
        graph.register_initializer(value)
    for old, new in zip(node.outputs, results, strict=True):
        _reconnect(graph, node, old, new)
    graph.remove(node, safe=True)


def _detach(graph: ir.Graph) -> None:
    """Make the nodes of a dropped branch read nothing, or they would still count as readers of tensors."""
    for node in [*graph, *(inner for sub in graph.subgraphs() for inner in sub)]:
        for k in range(len(node.inputs)):
            node.replace_input_with(k, None)


def _rename(model: ir.Model, nodes: list[ir.Node], constants: list[ir.Value]) -> None:
    """Give new names to what moves where the old ones are taken; all others keep theirs."""
    moving = [value for node in nodes for value in node.outputs] + constants
    values = {value.name for graph in all_graphs(model) for value in _defined(graph)}
    labels = {node.name for node in model.graph}
    for value in moving:
        value.name = _free(value.name, values)
    for node in nodes:
        node.name = _free(node.name, labels)


def _defined(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _free(name: str | None, taken: set[str | None]) -> str | None:
    """`name`, or with the first number that makes it new; it is taken from then on."""
    if not name:
        return name
    new, number = name, 1
    while new in taken:
        number += 1
        new = f"{name}_{number}"
    taken.add(new)
    return new


def _reconnect(graph: ir.Graph, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Let the readers of an output of the If read the branch's tensor; a graph output keeps its name."""
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    copy = ir.Node("", "Identity", [new], num_outputs=1)
    kept, name = copy.outputs[0], old.name
    old.replace_all_uses_with(kept, replace_graph_outputs=True)
    old.name = None
    kept.name, kept.shape, kept.type = name, old.shape, old.type
    graph.insert_before(node, copy)
