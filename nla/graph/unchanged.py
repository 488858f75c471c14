"""Which neurons still have the weights that they were born with: the comparison with an initial checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import ModelError, printable
from nla.site import Producer, Site

if TYPE_CHECKING:
    import onnx_ir

Flags = NDArray[np.bool_]


def unchanged_neurons(
    model: onnx_ir.Model, initial: onnx_ir.Model, sites: Sequence[Site]
) -> dict[str, Flags]:
    """bool [neurons] by site: True where the incoming weights and bias equal the initial checkpoint's bit for bit.

    Weights are matched by name. Sites whose producers are not weights of one axis per neuron are left out.

    Raises:
        ModelError: no weight of the model has its namesake, of the same shape, in the initial checkpoint.
    """
    flags = {site.name: seen for site in sites if (seen := _site(model, initial, site)) is not None}
    if sites and not flags:
        names = ", ".join(printable(p.weight) for site in sites[:3] for p in site.producers[:1])
        raise ModelError(
            f"the initial checkpoint shares no weight with the model ({names}, …): expected the same names and shapes; "
            "give the checkpoint that this training started from"
        )
    return flags


def _site(model: onnx_ir.Model, initial: onnx_ir.Model, site: Site) -> Flags | None:
    if not site.producers or site.unit_size != 1:
        return None
    same = np.ones(site.neurons, np.bool_)
    for producer in site.producers:
        seen = _producer(model, initial, producer, site.neurons)
        if seen is None:
            return None
        same &= seen
    return same


def _producer(model: onnx_ir.Model, initial: onnx_ir.Model, producer: Producer, neurons: int) -> Flags | None:
    """Whether each neuron's slice of the weight, and its bias, is what it was."""
    weights = _weight(model, producer.weight), _weight(initial, producer.weight)
    flags = _equal_slices(*weights, producer.weight_axis, producer.channel_offset, neurons)
    if flags is None or producer.bias is None:
        return flags
    biases = _weight(model, producer.bias), _weight(initial, producer.bias)
    same_bias = _equal_slices(*biases, -1, producer.channel_offset, neurons)
    return None if same_bias is None else flags & same_bias


def _equal_slices(
    now: NDArray[Any] | None, then: NDArray[Any] | None, axis: int, offset: int, neurons: int
) -> Flags | None:
    if now is None or then is None or now.shape != then.shape or now.shape[axis] < offset + neurons:
        return None
    same = np.moveaxis(now == then, axis, 0).reshape(now.shape[axis], -1).all(axis=1)
    flags: Flags = same[offset : offset + neurons]
    return flags


def _weight(model: onnx_ir.Model, name: str) -> NDArray[Any] | None:
    value = model.graph.initializers.get(name)
    if value is not None and value.const_value is not None:
        return value.const_value.numpy()
    for node in model.graph:
        if node.op_type == "Constant" and node.outputs[0].name == name and "value" in node.attributes:
            tensor: NDArray[Any] = node.attributes["value"].as_tensor().numpy()
            return tensor
    return None
