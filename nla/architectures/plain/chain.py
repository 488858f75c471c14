"""Whether layers chain: what each reads, what it gives, and where a feature map becomes a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nla.architectures.plain.grouping import Layer
from nla.architectures.plain.words import Step

LAYOUTS = {"oi": "[out, in]", "io": "[in, out]"}
"""How a file may store dense weights: as PyTorch does, or as Keras does."""


@dataclass(frozen=True)
class Flow:
    """What goes from one step to the next."""

    width: int
    """Features of a vector, channels of a feature map."""
    rank: int = 0
    """Spatial axes; 0 for a vector."""
    one_position: bool = False
    """True behind a global pooling."""


def widths(layer: Layer, layout: str) -> tuple[int, int]:
    """Inputs and outputs of a dense layer; the channels, twice, of a BatchNorm."""
    if layer.kind == "batchnorm":
        return layer.shape[0], layer.shape[0]
    return (layer.shape[1], layer.shape[0]) if layout == "oi" else (layer.shape[0], layer.shape[1])


def fits_bias(layer: Layer, layout: str) -> bool:
    """Whether the bias of a dense layer, if there is one, is as long as its outputs are many."""
    return layer.bias_size in (None, widths(layer, layout)[1])


def fault(steps: Sequence[Step], layout: str) -> str | None:
    """Why the steps make no network in this order; None where they do."""
    flow: Flow | None = None
    for at, step in enumerate(steps):
        before = steps[at - 1] if at else None
        wrong = _fault(step, before, flow, layout)
        if wrong is not None:
            return wrong
        flow = after(step, flow, layout)
    return None if any(step.weighted for step in steps) else "it names no layer with weights"


def after(step: Step, flow: Flow | None, layout: str) -> Flow:
    """What a step that fits gives."""
    layer = step.layer
    if layer is None:
        assert flow is not None
        return Flow(flow.width, flow.rank, flow.one_position or step.pool == "global")
    if step.kind == "conv":
        return Flow(layer.shape[0], len(layer.shape) - 2)
    if step.kind == "dense":
        return Flow(widths(layer, layout)[1])
    assert flow is not None
    return flow


def _fault(step: Step, before: Step | None, flow: Flow | None, layout: str) -> str | None:
    layer = step.layer
    if layer is None:
        return None if flow is not None and flow.rank else "a pooling stands where there is no feature map"
    if step.kind == "conv":
        return _conv_fault(step, layer, flow)
    if step.kind == "dense":
        return _dense_fault(layer, flow, layout)
    if before is None or not before.weighted:
        return f"the BatchNorm '{layer.called}' does not stand directly behind a dense layer or a convolution"
    return _disagreement(layer, layer.shape[0], flow)


def _conv_fault(step: Step, layer: Layer, flow: Flow | None) -> str | None:
    if layer.weight.endswith("kernel"):
        return (
            f"the convolution '{layer.called}' has a kernel, which Keras and Flax store as [kernel, in, out]; nla "
            "reads weights [out, in / groups, kernel]"
        )
    groups = step.options.get("groups", 1)
    outputs, inputs = layer.shape[0], layer.shape[1] * groups
    if layer.bias_size not in (None, outputs) or outputs % groups:
        return (
            f"the convolution '{layer.called}' has a weight {list(layer.shape)}, a bias of {layer.bias_size} and "
            f"{groups} groups; expected was a weight [out, in / groups, kernel] and a bias [out]"
        )
    if flow is not None and flow.rank != len(layer.shape) - 2:
        return f"the convolution '{layer.called}' reads {len(layer.shape) - 2} spatial axes, and there are {flow.rank}"
    return _disagreement(layer, inputs, flow)


def _dense_fault(layer: Layer, flow: Flow | None, layout: str) -> str | None:
    inputs = widths(layer, layout)[0]
    if flow is not None and flow.rank and not flow.one_position and inputs % flow.width == 0:
        return None
    return _disagreement(layer, inputs, flow)


def _disagreement(layer: Layer, reads: int, flow: Flow | None) -> str | None:
    if flow is None or flow.width == reads:
        return None
    return (
        f"'{layer.called}' {list(layer.shape)} reads {reads:,}, and the layer before it gives {flow.width:,}"
    )
