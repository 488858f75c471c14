"""Carrying out what a pass asked for: constants, attributes and nodes of the file change. Nothing is declined here."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
from onnx import helper

from nla.graph import query
from nla.surgery.cutting.requests import Array
from nla.surgery.cutting.sharing import Leaf, Sharing
from nla.surgery.cutting.work import Work


def carry_out(work: Work) -> None:
    """Do to the file what the pass asked for."""
    protos = {node: work.proto(node) for node in _nodes(work)}
    leaves, computed = _operands(work)
    sharing = Sharing(work.edit)
    sharing.carry_out(leaves)
    for (node, at), array in (*computed.items(), *work.requests.constants.items()):
        _set_operand(work, protos[node], at, array)
    for node, at in work.requests.left_out:
        protos[node].input[at] = ""
    for (node, key), value in work.requests.attributes.items():
        _set_attribute(protos[node], key, value)
    work.edit.rewired()
    for node, array in work.requests.additions.items():
        _add_behind(work, query.name(node.outputs[0]), array)
    _forget_shapes(work.edit.graph, work.requests.shrunk | sharing.reshaped)
    work.edit.drop_unread()


def _nodes(work: Work) -> list[ir.Node]:
    """The nodes that change, in the order of the requests."""
    requests = work.requests
    named = (
        *requests.changes,
        *requests.deltas,
        *requests.constants,
        *requests.left_out,
        *requests.attributes,
    )
    return list(dict.fromkeys([*(node for node, _ in named), *requests.additions]))


def _operands(work: Work) -> tuple[list[Leaf], dict[tuple[ir.Node, int], Array]]:
    """Changes of stored weights, and what those of computed constants come to."""
    requests = work.requests
    leaves, computed = [], {}
    for node, at in dict.fromkeys([*requests.changes, *requests.deltas]):
        change, delta = requests.changes.get((node, at)), requests.deltas.get((node, at))
        stored = work.stored(node, at)
        if stored is not None:
            leaves.append(Leaf(query.name(node.outputs[0]), at, stored, change, delta))
            continue
        array = work.array(query.operand(node, at))
        assert array is not None  # the pass asked before
        cut = array if change is None else change.function(array)
        computed[node, at] = cut if delta is None else (cut + delta).astype(array.dtype)
    return leaves, computed


def _set_operand(work: Work, node: onnx.NodeProto, at: int, array: Array) -> None:
    """Let the operand be the array: in the weight that holds it where nothing else reads that, else in a new one."""
    edit = work.edit
    while len(node.input) <= at:
        node.input.append("")
    name = node.input[at]
    own = edit.is_weight(name) and len(edit.readers(name)) == 1 and list(node.input).count(name) == 1
    if own and not edit.is_output(name) and edit.dtype(name) == array.dtype:
        edit.set_weight(name, array)
    else:
        node.input[at] = edit.add_weight(f"{node.output[0]}_operand_{at}", array)
        edit.rewired()


def _set_attribute(node: onnx.NodeProto, key: str, value: Any) -> None:
    """Give the attribute a new value, in its place; take it out where there is none."""
    found = next((entry for entry in node.attribute if entry.name == key), None)
    if value is None:
        if found is not None:
            node.attribute.remove(found)
    elif found is not None:
        found.CopyFrom(helper.make_attribute(key, value))
    else:
        node.attribute.append(helper.make_attribute(key, value))


def _add_behind(work: Work, made: str, array: Array) -> None:
    """An Add behind the node that makes the tensor: the sum takes over its name."""
    edit = work.edit
    node = edit.node(made)
    assert node is not None
    before = edit.fresh(f"{made}_before_bias")
    at = list(node.output).index(made)
    node.output[at] = before
    edit.rewired()
    nodes = edit.graph.node
    place = next(k for k, one in enumerate(nodes) if before in one.output)
    bias = edit.add_weight(f"{made}_bias", array)
    added = helper.make_node("Add", [before, bias], [made], name=edit.fresh(f"{made}_add_bias"))
    edit.add_node(added, before=nodes[place + 1] if place + 1 < len(nodes) else None)


def _forget_shapes(graph: onnx.GraphProto, names: set[str]) -> None:
    """Take out what the file states of the shapes of tensors that have others now."""
    for at in reversed(range(len(graph.value_info))):
        if graph.value_info[at].name in names:
            del graph.value_info[at]
