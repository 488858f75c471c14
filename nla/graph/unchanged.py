"""Which neurons still have the weights that they were born with: the comparison with an initial checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import ModelError, printable
from nla.graph.incoming import Part, parts
from nla.site import Site

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
    held = parts(model, sites)
    known = {site.name: _site(model, initial, site, held.get(site.name, ())) for site in sites}
    flags = {name: seen for name, seen in known.items() if seen is not None}
    if sites and not flags:
        names = ", ".join(printable(p.weight) for site in sites[:3] for p in site.producers[:1])
        raise ModelError(
            f"the initial checkpoint shares no weight with the model ({names}, …): expected the same names and shapes; "
            "give the checkpoint that this training started from"
        )
    return flags


def _site(model: onnx_ir.Model, initial: onnx_ir.Model, site: Site, held: Sequence[Part]) -> Flags | None:
    """Whether each neuron's slice of every part is what it was; None where a part cannot be told."""
    same = np.ones(site.neurons, np.bool_)
    for part in held:
        pair = weight_of(model, part.name), weight_of(initial, part.name)
        seen = _equal_slices(*pair, part.axis, part.first, site.neurons)
        if seen is None:
            return None
        same &= seen
    return same if held else None


def _equal_slices(
    now: NDArray[Any] | None, then: NDArray[Any] | None, axis: int, offset: int, neurons: int
) -> Flags | None:
    if now is None or then is None or now.shape != then.shape or now.shape[axis] < offset + neurons:
        return None
    same = np.moveaxis(now == then, axis, 0).reshape(now.shape[axis], -1).all(axis=1)
    flags: Flags = same[offset : offset + neurons]
    return flags


def weight_of(model: onnx_ir.Model, name: str) -> NDArray[Any] | None:
    """The values of an initializer or a Constant node; None where the name is neither's."""
    value = model.graph.initializers.get(name)
    if value is not None and value.const_value is not None:
        return value.const_value.numpy()
    for node in model.graph:
        if node.op_type == "Constant" and node.outputs[0].name == name and "value" in node.attributes:
            tensor: NDArray[Any] = node.attributes["value"].as_tensor().numpy()
            return tensor
    return None
