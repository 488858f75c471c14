"""Which matrices of a checkpoint lie transposed in a graph: read off the operators, never guessed.

A weight is `straight` where its two shapes are equal, `turned` where one is the other reversed. A square matrix
could be either, so it needs a witness: other weights of the graph, or the same values in graph and checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from nla.architectures.grafting.hidden import own_graphs
from nla.errors import ModelError, printable

Array = NDArray[Any]
Shape = tuple[int, ...]

_PLAIN = ("", "ai.onnx")
_IN_OUT, _OUT_IN, _UNKNOWN, _OTHER = "[in, out]", "[out, in]", "by a function", "otherwise"
_COPIES = ("Cast", "Identity")


def turned(
    proto: ModelProto,
    pairs: Mapping[str, str],
    wanted: Mapping[str, Shape],
    stored: Mapping[str, Shape],
    values: Callable[[str], tuple[Array, Array]],
) -> frozenset[str]:
    """The initializers whose tensor has to be transposed.

    `values` gives both arrays of a pair, by the initializer's name. Raises ModelError: shapes that differ
    otherwise, or a square matrix without a witness.
    """
    uses = _uses(proto, set(pairs))
    matrices = {name for name in pairs if len(wanted[name]) == 2 and uses[name] and _OTHER not in uses[name]}
    found: set[str] = set()
    for name, tensor in pairs.items():
        here, there = wanted[name], stored[tensor]
        if here == there:
            continue
        if name not in matrices or _UNKNOWN in uses[name] or here != there[::-1]:
            raise ModelError(
                f"initializer '{printable(name)}' of the graph is {list(here)}, and tensor '{printable(tensor)}' of "
                f"the checkpoint {list(there)}: a graph of another size of the network, or of another network"
            )
        found.add(name)
    square = {name for name in matrices if wanted[name][0] == wanted[name][1] > 1}
    witness = not found and any(_IN_OUT in uses[name] for name in matrices - square)
    for name in sorted(square):
        doubtful = bool(found) or _UNKNOWN in uses[name] or (_IN_OUT in uses[name] and not witness)
        if doubtful and _decided_by_values(name, values):
            found.add(name)
    return frozenset(found)


def _uses(proto: ModelProto, names: set[str]) -> dict[str, set[str]]:
    """For each initializer, as what the nodes read it; copies and casts are seen through."""
    origin = {name: name for name in names}
    found: dict[str, set[str]] = {name: set() for name in names}
    for graph in own_graphs(proto.graph):
        for node in graph.node:
            for at, name in enumerate(node.input):
                if name not in origin:
                    continue
                if node.domain in _PLAIN and node.op_type in _COPIES and node.output:
                    origin[node.output[0]] = origin[name]
                else:
                    found[origin[name]].add(_read_as(node, at))
    return found


def _read_as(node: NodeProto, at: int) -> str:
    if node.domain not in _PLAIN:
        return _UNKNOWN
    if node.op_type == "MatMul" and at == 1:
        return _IN_OUT
    if node.op_type == "Transpose":
        perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1, 0])
        return _OUT_IN if perm == [1, 0] else _OTHER
    if node.op_type == "Gemm" and at == 1:
        return _OUT_IN if any(a.name == "transB" and a.i == 1 for a in node.attribute) else _IN_OUT
    return _OTHER


def _decided_by_values(name: str, values: Callable[[str], tuple[Array, Array]]) -> bool:
    """Whether the checkpoint's matrix is the graph's transposed; both hold the same values. Raises ModelError."""
    own, other = values(name)
    straight, across = np.array_equal(own, other), np.array_equal(own, other.T)
    if straight == across:
        raise ModelError(
            f"initializer '{printable(name)}' is square, {list(own.shape)}, and nothing tells whether the checkpoint's "
            "matrix lies transposed in the graph: give a graph that reads weights as the checkpoint stores them (Gemm "
            "with transB=1 or MatMul with a Transpose for PyTorch's [out, in])"
        )
    return across
