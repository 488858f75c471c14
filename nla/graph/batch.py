"""Freeing a batch that an export fixed at 1.

A guess, made with care and proved by running: the shape that a graph declares for one sample tells where the
samples' axis of each tensor lies; where the graph writes that 1 down (Reshape targets, constants that a
Concat puts beside the data, initial states), it is rewritten. Replay then compares batched with one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from operator import mul

import numpy as np
import onnx
import onnx_ir as ir
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from nla.graph.constants import Constants
from nla.graph.query import in_order
from nla.graph.shapes import Shapes

_SYMBOL = "nla_samples"
_COUNT = "nla_samples_count"
_SMALL_BYTES = 1024
_RECURRENT = ("LSTM", "GRU", "RNN")
_SHAPES_ONLY = frozenset({"Shape", "Size"})
Sizes = tuple[int | None, ...]


def free_batch(proto: ModelProto, inputs: Mapping[str, int] | Sequence[str]) -> ModelProto | None:
    """A copy of the model that takes any number of samples; None where a fixed 1 stands in the way.

    `inputs` are the inputs whose axis 0 (or the axis given for each) holds the samples and is declared as
    one. The caller proves the copy by running it: nothing here knows what an operator of another domain does.
    """
    axes = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs, 0)
    freed = ModelProto()
    freed.CopyFrom(proto)
    if not axes or not _free_inputs(freed.graph, axes):
        return None
    try:
        return freed if _Rewriter(freed, axes, _shapes(proto)).rewrite() else None
    except MemoryError:
        raise
    except Exception:  # a malformed node, or onnx's own inference gave up: one by one is always right
        return None


def _free_inputs(graph: GraphProto, axes: Mapping[str, int]) -> bool:
    """Write a symbol for the samples; False where an input's axis is fixed at another size than 1."""
    for info in graph.input:
        if info.name not in axes:
            continue
        dims = info.type.tensor_type.shape.dim
        if len(dims) <= axes[info.name]:
            return False
        dim = dims[axes[info.name]]
        if dim.HasField("dim_value"):
            if dim.dim_value != 1:
                return False
            dim.dim_param = _SYMBOL
    for info in graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    return True


def _shapes(proto: ModelProto) -> dict[str, Sizes]:
    """Sizes of every tensor for one sample, as onnx infers them and `Shapes` goes on; large weights are left out."""
    light = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    light.graph.name = "graph"
    sizes: dict[str, Sizes] = {}
    for tensor in proto.graph.initializer:
        sizes[tensor.name] = tuple(tensor.dims)
        if tensor.ByteSize() <= _SMALL_BYTES and tensor.data_location != onnx.TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
        else:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(info)
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(light, data_prop=True)).graph
    nodes = in_order(graph)
    shapes = Shapes(Constants(graph, nodes), graph.inputs)
    for node in nodes:  # where onnx's inference gave up
        shapes.visit(node)
    for value in (*graph.inputs, *(output for node in nodes for output in node.outputs)):
        dims = shapes.dims(value)
        if value.name and dims is not None:
            sizes[value.name] = tuple(size if isinstance(size, int) else None for size in dims)
    return sizes


@dataclass(frozen=True)
class _Where:
    """Where the samples lie in a tensor."""

    axis: int
    mixed: str = ""
    """What they are within that axis, where positions share it: "slower" or "faster" than these."""


class _Rewriter:
    """Follows the samples through the graph and rewrites the nodes that hold them at one."""

    def __init__(self, model: ModelProto, axes: Mapping[str, int], shapes: Mapping[str, Sizes]) -> None:
        self._graph = model.graph
        self._where = {name: _Where(axis) for name, axis in axes.items()}
        self._shapes = shapes
        self._source = next(iter(axes.items()))
        self._opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        self._nodes: list[NodeProto] = []
        self._constants = 0
        self._counted = False

    def rewrite(self) -> bool:
        """False where a node cannot be rewritten."""
        for node in self._graph.node:
            carriers = [name for name in node.input if name in self._where]
            rule = _RULES.get(node.op_type, _Rewriter._default)
            if carriers and node.op_type not in _SHAPES_ONLY and not rule(self, node, carriers):
                return False
            self._nodes.append(node)
        nodes = list(self._nodes)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return True

    # Each rule rewrites a node where need be and notes where its outputs have the samples; False: it cannot.

    def _default(self, node: NodeProto, carriers: list[str]) -> bool:
        """Most operators leave the axis where it is; shapes of fewer axes are aligned at their ends."""
        source = max(carriers, key=lambda name: self._rank(name) or 0)
        rank = self._rank(source)
        for output in node.output:
            after = self._rank(output)
            shift = 0 if rank is None or after is None else after - rank
            self._carry(output, source, self._where[source].axis + shift)
        return True

    def _carry(self, name: str, source: str, axis: int) -> None:
        if name and axis >= 0:
            self._where[name] = replace(self._where[source], axis=axis)

    def _rank(self, name: str) -> int | None:
        shape = self._shapes.get(name)
        return None if shape is None else len(shape)

    def _transpose(self, node: NodeProto, carriers: list[str]) -> bool:
        source = node.input[0]
        perm = _ints(node, "perm") or list(reversed(range(self._rank(source) or 0)))
        if self._where[source].axis not in perm:
            return False
        self._carry(node.output[0], source, perm.index(self._where[source].axis))
        return True

    def _squeeze(self, node: NodeProto, carriers: list[str]) -> bool:
        source, axis = node.input[0], self._where[node.input[0]].axis
        shape, axes = self._shapes.get(source), self._axes_of(node)
        if shape is None or (axes is None and None in shape):
            return False
        if axes is None:  # every axis of size 1 would go, the samples with them
            axes = [k for k, size in enumerate(shape) if size == 1 and k != axis]
            self._set_axes(node, axes)
        gone = [a % len(shape) for a in axes]
        if axis in gone:
            return False
        self._carry(node.output[0], source, axis - sum(a < axis for a in gone))
        return True

    def _unsqueeze(self, node: NodeProto, carriers: list[str]) -> bool:
        source, axis = node.input[0], self._where[node.input[0]].axis
        axes, rank = self._axes_of(node), self._rank(source)
        if axes is None or rank is None:
            return False
        for new in sorted(a % (rank + len(axes)) for a in axes):
            axis += new <= axis
        self._carry(node.output[0], source, axis)
        return True

    def _reduce(self, node: NodeProto, carriers: list[str]) -> bool:
        source, axis = node.input[0], self._where[node.input[0]].axis
        axes, rank = self._axes_of(node), self._rank(source)
        if not rank:
            return False
        gone = [a % rank for a in (range(rank) if axes is None else axes)]
        if axis in gone and not (axes is None and _int(node, "noop_with_empty_axes", 0)):
            return False
        shift = 0 if _int(node, "keepdims", 1) else sum(a < axis for a in gone)
        self._carry(node.output[0], source, axis - shift)
        return True

    def _gather(self, node: NodeProto, carriers: list[str]) -> bool:
        """Data by constant indices, or a constant table by indices that are data (an embedding)."""
        data, indices = node.input[0], node.input[1]
        at = _int(node, "axis", 0)
        at += (self._rank(data) or 0) if at < 0 else 0
        if data not in self._where:
            self._carry(node.output[0], indices, at + self._where[indices].axis)
            return True
        axis, rank = self._where[data].axis, self._rank(indices)
        if at == axis or rank is None:
            return False
        self._carry(node.output[0], data, axis + (rank - 1 if at < axis else 0))
        return True

    def _recurrent(self, node: NodeProto, carriers: list[str]) -> bool:
        """X is [time, samples, features], Y [time, directions, samples, hidden], Y_h lacks the time."""
        source = node.input[0]
        if source not in self._where or _int(node, "layout", 0):
            return self._default(node, carriers)
        if self._where[source] != _Where(1):
            return False
        for k, axis, rank in ((4, 0, 1), (5, 1, 3), (6, 1, 3)):  # sequence_lens, initial_h, initial_c
            if len(node.input) > k and node.input[k] and node.input[k] not in self._where:
                node.input[k] = self._repeated(node.input[k], axis, rank)
        for output, axis in zip(node.output, (2, 1, 1), strict=False):
            self._carry(output, source, axis)
        return True

    def _concat(self, node: NodeProto, carriers: list[str]) -> bool:
        """A constant of batch 1 beside the data (a class token) is repeated for every sample."""
        where, rank = self._where[carriers[0]], self._rank(carriers[0])
        at = _int(node, "axis", 0)
        others = [k for k, name in enumerate(node.input) if name not in self._where]
        if (others and (rank is None or where.mixed)) or (rank is None and at < 0):
            return False
        if any(self._where[name] != where for name in carriers) or at % (rank or at + 1) == where.axis:
            return False
        for k in others:
            node.input[k] = self._repeated(node.input[k], where.axis, rank or 0)
        self._carry(node.output[0], carriers[0], where.axis)
        return True

    def _flatten(self, node: NodeProto, carriers: list[str]) -> bool:
        source, at = node.input[0], _int(node, "axis", 1)
        if self._where[source].axis != 0 or at == 0:
            return False
        self._where[node.output[0]] = self._where[source] if at == 1 else _Where(0, "slower")
        return True

    def _reshape(self, node: NodeProto, carriers: list[str]) -> bool:
        """Give the target a free size where the samples go, and fixed sizes elsewhere."""
        source = node.input[0]
        before, after = self._shapes.get(source), self._shapes.get(node.output[0])
        if source not in self._where:
            return False
        if before is None or not after:
            return self._default(node, carriers)
        place = None if None in after else _place(before, self._where[source], after)
        if place is None:
            return self._open_reshape(node, after)
        target = [-1 if axis == place.axis else size or 0 for axis, size in enumerate(after)]
        node.input[1] = self._constant(np.array(target, np.int64))
        self._where[node.output[0]] = place
        return True

    def _open_reshape(self, node: NodeProto, after: Sizes) -> bool:
        """With another free size the samples can only be copied (0), from the same place, alone."""
        stated = self._stated(node.input[1])
        if self._where[node.input[0]] != _Where(0) or stated == []:
            return False
        if stated is not None and stated[0] == 1:
            node.input[1] = self._constant(np.array([0, *stated[1:]], np.int64))
        elif stated is not None and stated[0] not in (0, -1):
            return False
        self._where[node.output[0]] = _Where(0, "" if after[0] in (None, 1) else "slower")
        return True

    def _stated(self, name: str) -> list[int] | None:
        """The integers that a constant holds, or None where the graph computes them."""
        found = next((t for t in self._graph.initializer if t.name == name), None)
        made = next((n for n in self._nodes if name in n.output and n.op_type == "Constant"), None)
        if made is not None and made.attribute and made.attribute[0].HasField("t"):
            found = made.attribute[0].t
        if found is None or found.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return [int(x) for x in numpy_helper.to_array(found).reshape(-1)]

    def _constant(self, array: np.ndarray) -> str:
        self._constants += 1
        name = f"nla_constant_{self._constants}"
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _repeated(self, name: str, axis: int, rank: int) -> str:
        """A tensor of size 1 along `axis`, repeated for every sample."""
        if not self._counted:
            self._counted = True
            at = self._constant(np.array([self._source[1]], np.int64))
            self._nodes.append(onnx.helper.make_node("Shape", [self._source[0]], [f"{_COUNT}_shape"]))
            self._nodes.append(onnx.helper.make_node("Gather", [f"{_COUNT}_shape", at], [_COUNT]))
        parts = [_COUNT if k == axis else self._constant(np.array([1], np.int64)) for k in range(rank)]
        self._constants += 1
        target, repeated = f"nla_target_{self._constants}", f"nla_repeated_{self._constants}"
        self._nodes.append(onnx.helper.make_node("Concat", parts, [target], axis=0))
        self._nodes.append(onnx.helper.make_node("Expand", [name, target], [repeated]))
        return repeated

    def _axes_of(self, node: NodeProto) -> list[int] | None:
        """Axes by attribute (older opsets) or by constant input; None where there are none."""
        if (axes := _ints(node, "axes")) is not None:
            return axes
        if len(node.input) < 2 or not node.input[1]:
            return None
        return self._stated(node.input[1])

    def _set_axes(self, node: NodeProto, axes: Sequence[int]) -> None:
        if not axes:
            node.op_type = "Identity"
        elif self._opset < 13:
            node.attribute.append(onnx.helper.make_attribute("axes", list(axes)))
        else:
            node.input.append(self._constant(np.array(axes, np.int64)))


def _place(before: Sizes, where: _Where, after: Sizes) -> _Where | None:
    """Where the samples lie in a reshaped tensor, or None where that cannot be told.

    All that is slower than the samples must come before them still. The next axis is theirs, if it is 1; it
    takes them in, slower than its positions, unless it is the last, which holds the features: then the axis
    before it does, and they are the faster part.
    """
    slower = before[: where.axis + (where.mixed == "faster")]
    if None in slower:
        return None
    count = prod(size or 0 for size in slower)
    for axis, reached in enumerate(accumulate((size or 0 for size in after), mul, initial=1)):
        if reached != count or axis == len(after):
            continue
        if after[axis] == 1:
            return _Where(axis)
        features = 0 < axis == len(after) - 1
        return _Where(axis - 1, "faster") if features else _Where(axis, "slower")
    return None


def _ints(node: NodeProto, name: str) -> list[int] | None:
    return next((list(a.ints) for a in node.attribute if a.name == name), None)


def _int(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


_RULES: dict[str, Callable[[_Rewriter, NodeProto, list[str]], bool]] = {
    "Transpose": _Rewriter._transpose,
    "Squeeze": _Rewriter._squeeze,
    "Unsqueeze": _Rewriter._unsqueeze,
    "Gather": _Rewriter._gather,
    "Concat": _Rewriter._concat,
    "Flatten": _Rewriter._flatten,
    "Reshape": _Rewriter._reshape,
    **dict.fromkeys(_RECURRENT, _Rewriter._recurrent),
    **{
        f"Reduce{name}": _Rewriter._reduce
        for name in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
}
