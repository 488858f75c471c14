"""Where the windows of a convolution or a pooling lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Tape, refusal


@dataclass(frozen=True)
class Windows:
    """One entry a spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    """Padding before the first value."""
    ends: tuple[int, ...]
    """Padding behind the last value that any window needs."""
    unread: tuple[int, ...]
    """Values at the end that no window reads."""

    def transposed(self) -> dict[str, Any]:
        """Attributes of the ConvTranspose that takes outputs back to inputs."""
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": [*self.begins, *self.ends],
            "output_padding": list(self.unread),
        }


def windows(tape: Tape, node: ir.Node, kernel: Sequence[int]) -> Windows:
    """The windows of a node from [N, C, *sizes] to [N, C′, *sizes].

    Raises:
        ModelError: attributes that make no sense, or sizes that are not known and are needed.
    """
    axes = len(kernel)
    strides, dilations = (query.integers(node, key) or (1,) * axes for key in ("strides", "dilations"))
    pads = query.integers(node, "pads") or (0,) * (2 * axes)
    auto = query.text(node, "auto_pad", "NOTSET") or "NOTSET"
    if (
        not len(strides) == len(dilations) == axes == len(pads) // 2
        or min((*strides, *dilations, *kernel)) < 1
    ):
        raise refusal(node, "its attributes do not fit one another")
    if auto == "VALID":
        pads = (0,) * (2 * axes)
    if auto in ("NOTSET", "VALID") and set(strides) == {1} and not query.integer(node, "ceil_mode"):
        return Windows(tuple(kernel), strides, dilations, pads[:axes], pads[axes:], (0,) * axes)
    into = tape.sizes(node, node.inputs[0], 2)
    made = tape.sizes(node, node.outputs[0], 2)
    if not len(into) == len(made) == axes:
        raise refusal(node, "its kernel has another number of axes than what it reads")
    if any((made[k] - 1) * strides[k] >= into[k] + pads[k] for k in range(axes)) and auto == "NOTSET":
        raise refusal(
            node, "its last window begins behind all values (ceil_mode), which runtimes count differently"
        )
    reach = [(made[k] - 1) * strides[k] + (kernel[k] - 1) * dilations[k] + 1 for k in range(axes)]
    begins = tuple(_begin(auto, reach[k] - into[k], pads[k]) for k in range(axes))
    left = [reach[k] - into[k] - begins[k] for k in range(axes)]
    return Windows(
        tuple(kernel),
        strides,
        dilations,
        begins,
        tuple(max(n, 0) for n in left),
        tuple(max(-n, 0) for n in left),
    )


def _begin(auto: str, missing: int, given: int) -> int:
    if auto == "SAME_UPPER":
        return max(missing, 0) // 2
    return -(-max(missing, 0) // 2) if auto == "SAME_LOWER" else given
