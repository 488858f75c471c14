"""A checkpoint made ready to be understood: one flat graph, its constants set, its decided branches taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.errors import one_line, printable
from nla.graph.branches import resolve
from nla.graph.given import ConstantFeed, Given, place
from nla.graph.loading import count_parameters, lift_constants, load
from nla.graph.quantised import add_dequantised
from nla.site import Input

Shapes = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True)
class Prepared:
    """A graph in which sites can be found."""

    model: ir.Model
    """Functions inlined, shapes inferred, external weights lazy; its inputs are data and `constant_feeds`."""
    inputs: tuple[Input, ...]
    """The inputs that take data."""
    outputs: tuple[str, ...]
    parameters: int
    """Number of weights in the checkpoint."""
    constant_feeds: dict[str, ConstantFeed] = field(default_factory=dict)
    """Constants that are fed with every batch, because their shape follows it."""
    notes: tuple[str, ...] = ()
    """What was done to the graph, and what was left alone."""


def prepare(
    checkpoint: OnnxCheckpoint, constants: Mapping[str, Given] | None = None, shapes: Shapes | None = None
) -> Prepared:
    """The graph of `checkpoint` with `constants` (input name: value) set and what they decide resolved.

    `shapes` gives, for data inputs by name, the sizes that every sample has (None for the samples and for
    what varies); a branch that a shape decides is then resolved too. Weights are not read; what calls onnx's
    C++ may crash on a hostile file, so call this in the supervised child. Raises ModelError, UsageError.
    """
    model = load(checkpoint)
    parameters = count_parameters(model, checkpoint.constants)
    notes = list(checkpoint.notes) if isinstance(checkpoint, BuiltCheckpoint) else []
    notes += _inline_functions(model)
    feeds, set_notes = place(model.graph, constants or {})
    inputs = tuple(_input(value) for value in model.graph.inputs if value.name not in feeds)
    _fix_shapes(model.graph, shapes or {})
    lift_constants(model.graph)
    notes += set_notes + resolve(model)
    dequantised = add_dequantised(model)
    if dequantised:
        notes.append(f"{len(dequantised)} outputs of quantised operators are read through a DequantizeLinear")
    outputs = tuple(str(value.name) for value in model.graph.outputs)
    return Prepared(model, inputs, outputs, parameters, feeds, tuple(notes))


def _inline_functions(model: ir.Model) -> list[str]:
    if not model.functions:
        return []
    names = sorted(printable(key[1]) for key in model.functions)
    try:
        InlinePass()(model)
    except (
        Exception
    ) as error:  # onnx_ir refuses what it cannot inline (an opset of its own) with plain errors
        return [f"the model's own functions were left alone: {one_line(error, 200)}"]
    return [f"{len(names)} functions were inlined: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"]


def _fix_shapes(graph: ir.Graph, shapes: Shapes) -> None:
    """Write known sizes of the data over free ones, so that what they decide is decided."""
    for value in graph.inputs:
        sizes = shapes.get(str(value.name))
        if sizes is None or (value.shape is not None and len(value.shape) != len(sizes)):
            continue
        declared = value.shape if value.shape is not None else [None] * len(sizes)
        value.shape = ir.Shape(
            [d if isinstance(d, int) or s is None else s for d, s in zip(declared, sizes, strict=True)]
        )


def _input(value: ir.Value) -> Input:
    kind = value.type
    name = "float32" if kind is None else _dtype(kind)
    if value.shape is None or not (kind is None or isinstance(kind, ir.TensorType)):
        return Input(str(value.name), name, None)
    sizes = tuple(size if isinstance(size, int) else size.value for size in value.shape)
    return Input(str(value.name), name, sizes)


def _dtype(kind: ir.TypeProtocol) -> str:
    """NumPy's name of a tensor's element type; the words of onnx_ir for other types."""
    if not isinstance(kind, ir.TensorType):
        return one_line(kind, 80)
    if kind.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        return "str" if kind.dtype == ir.DataType.STRING else "undefined"
    return str(kind.dtype.numpy())
