"""The NCHWc tap: a CNN whose feature maps are read in onnxruntime's own blocked order.

On CPUs onnxruntime keeps feature maps as [n, channels / block, positions, block] and appends a ReorderOutput
to every graph output: for a model whose outputs are its activations, most of what observing costs. Here the
optimised model is taken as onnxruntime saves it, and each such output is replaced by what goes into its
ReorderOutput. The optimised model belongs to this processor and this onnxruntime: it is made anew in every
process, never kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nla.replay.session import CPU, Array, Session, give_external, load_onnxruntime

if TYPE_CHECKING:
    import onnx

_DOMAIN = "com.microsoft.nchwc"
_LARGEST_BYTES = 3 << 29
"""A protobuf holds 2 GB at most; the optimised model is a little larger than the given one."""


class BlockedTap(NamedTuple):
    """Where a tap is found in the blocked model."""

    tensor: str
    """Declared as [n, padded channels, …], in memory [n, padded channels / block, positions, block]."""
    channels: int
    """Channels that count; the rest is padding up to a whole block."""


@dataclass(frozen=True)
class BlockedModel:
    """An optimised model with taps in blocked order among its outputs; load it without optimisation."""

    model: bytes
    """Serialised; external data is still referred to, by the same locations."""
    block: int
    taps: Mapping[str, BlockedTap]
    """The taps in blocked order; all others are outputs under their own names."""


def blocked_model(
    model: bytes, taps: Sequence[str], external: Mapping[str, Array] | None = None
) -> BlockedModel | None:
    """The same model with those taps in blocked order that onnxruntime holds so; None where there are none.

    `model` is a serialised ModelProto whose graph outputs include the taps; `external` its external
    files by location. None too where the model is too large to be written once more, or where anything is not as
    expected here: the plain outputs give the same numbers, only later.
    """
    if len(model) > _LARGEST_BYTES:
        return None
    try:
        optimised = _optimised(model, external)
        found = _tap(optimised, frozenset(taps))
        return BlockedModel(optimised.SerializeToString(), block_size(), found) if found else None
    except Exception:  # a way to save time must not be a reason to stop
        return None


def _optimised(model: bytes, external: Mapping[str, Array] | None) -> onnx.ModelProto:
    """The model as onnxruntime would run it on this processor."""
    import onnx

    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # it warns that the file will be bound to this processor
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    give_external(options, external)
    with TemporaryDirectory(prefix="nla-") as temporary:  # onnxruntime saves to a file or not at all
        path = Path(temporary) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model, options, providers=[CPU])
        return onnx.load_model(path, load_external_data=False)


def _tap(model: onnx.ModelProto, taps: frozenset[str]) -> dict[str, BlockedTap]:
    """Replace the outputs of `model` that a ReorderOutput makes by its input; return where each tap is then."""
    from onnx import TensorProto, helper

    graph = model.graph
    reorders = {node.output[0]: node for node in graph.node if _is_reorder(node)}
    found, outputs = {}, {}
    for output in graph.output:
        node = reorders.get(output.name)
        channels = None if node is None or output.name not in taps else _channels(node)
        if node is None or channels is None:
            outputs[output.name] = output
            continue
        tensor = node.input[0]
        found[output.name] = BlockedTap(tensor, channels)
        outputs[tensor] = helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)
    del graph.output[:]
    graph.output.extend(outputs.values())
    _drop_unread(graph, set(reorders))
    return found


def _is_reorder(node: onnx.NodeProto) -> bool:
    return node.domain == _DOMAIN and node.op_type == "ReorderOutput"


def _channels(node: onnx.NodeProto) -> int | None:
    return next((int(a.i) for a in node.attribute if a.name == "channels" and a.i > 0), None)


def _drop_unread(graph: onnx.GraphProto, names: set[str]) -> None:
    """Remove the nodes that make one of `names` that nothing reads any more."""
    read = set(_read(graph))
    kept = [node for node in graph.node if not (node.output and node.output[0] in names - read)]
    del graph.node[:]
    graph.node.extend(kept)


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all tensors that a node, a body or an output reads."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _read(body)


@lru_cache(maxsize=1)
def block_size() -> int:
    """Channels in a block on this processor: 16 with AVX-512, 8 with AVX; measured, as nothing states it."""
    from onnx import TensorProto, helper

    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=_DOMAIN, channels_last=0)
    values: Any = np.arange(128, dtype=np.float32).reshape(1, 64, 1, 2)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)
    graph = helper.make_graph([node], "probe", [given], [helper.make_empty_tensor_value_info("y")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (blocked,) = Session(model.SerializeToString(), optimise=False).run(["y"], {"x": values})
    # The second position of the first channel comes after one block of first positions.
    return int(np.flatnonzero(blocked.reshape(-1) == 1.0)[0])
