"""A bias put between a pre-activation and its activation, where no layer has one that can be changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx import NodeProto, helper

from nla.graph import query
from nla.surgery.weights.biases import computed_type
from nla.surgery.weights.incoming import Makers
from nla.surgery.weights.stored import Places, proto_of
from nla.surgery.weights.way import Way, layers


def why_no_place(makers: Makers, way: Way) -> str:
    """Why nothing can be put before the activation, a sentence; "" where it can."""
    if way.readers is None:
        return "It has no bias of its own, and its layer applies the activation itself."
    if not _readers(makers, way):
        return "It has no bias of its own, and its activation is not in the main graph of the file."
    if _type(makers, way) is None:
        return "It has no bias of its own, and the type of its pre-activation is not known."
    return ""


def add_before_activation(makers: Makers, way: Way, amounts: Mapping[int, float]) -> None:
    """Add amounts to units of z (channel k of z is unit k), for its activation alone."""
    edit, name = makers.edit, query.name(way.z)
    where = Places(way.fact.axes, way.fact.index.shape, list(amounts))
    array = np.zeros(where.wide(()))
    for index, amount in zip(where.indices(array.ndim), amounts.values(), strict=True):
        array[index] = amount
    readers, dtype = _readers(makers, way), _type(makers, way)
    assert readers
    assert dtype is not None
    weight, shifted = edit.add_weight(f"{name}_shift", array.astype(dtype)), edit.fresh(f"{name}_shifted")
    for reader in readers:
        for at, operand in enumerate(reader.input):
            if operand == name:
                reader.input[at] = shifted
    edit.rewired()
    edit.add_node(
        helper.make_node("Add", [name, weight], [shifted], edit.fresh(f"{name}_shift_add")), before=readers[0]
    )


def _readers(makers: Makers, way: Way) -> list[NodeProto]:
    """The nodes of the activation that read z, in the order of the file."""
    outputs = {
        query.name(value)
        for node in way.readers or ()
        for value in node.outputs
        if proto_of(makers.edit, node)
    }
    readers = makers.edit.readers(query.name(way.z))
    return [reader for reader in readers if outputs.intersection(reader.output)]


def _type(makers: Makers, way: Way) -> np.dtype[np.generic] | None:
    if isinstance(way.z.type, ir.TensorType) and way.z.dtype is not None:
        return np.dtype(way.z.dtype.numpy())
    for layer in layers(way):
        found = makers.weight(layer)
        if not isinstance(found, str):
            return computed_type(makers.edit, found[0], found[1].weight)
    return None
