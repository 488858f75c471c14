"""A plain MLP or CNN from tensors alone: order and activation declared, or the order inferred where one fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nla.architectures.builder import FLOAT, Graph
from nla.architectures.plain.chain import LAYOUTS, Flow, after, widths
from nla.architectures.plain.grouping import UNUSED, Layer, layers_of
from nla.architectures.plain.ordering import given, inferred
from nla.architectures.plain.words import ACTIVATIONS, Step, activations_of, steps_of
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.safetensors_source import SafetensorsSource
from nla.errors import UsageError, printable

NAME = "layers"
INPUT, OUTPUT = "x", "output"
_AXES = ("height", "width")
_SHOWN = 64


def build_layers(
    source: SafetensorsSource, layers: str | Sequence[str] | None = None, activation: str | None = None
) -> BuiltCheckpoint:
    """The checkpoint as a network in one line.

    `layers` names what stands before `.weight`, in order, with options (`conv1:stride=1:pad=1`) and poolings
    (`pool=max2`) between; None: the order is taken from shapes and numbers, where exactly one fits. `activation`
    is one name for all hidden layers, or one for each, with commas. Input `x`, float32 [batch, in] or
    [batch, channels, height, width]; output `output`. Raises ModelError, UsageError.
    """
    if not activation:
        raise UsageError(
            "--layers needs --activation: no safetensors file says which activation its layers have; one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    found = layers_of(source.tensors)
    if layers is None:
        steps, layout = inferred(found)
    else:
        steps = steps_of(layers.split(",") if isinstance(layers, str) else layers, found)
        layout = given(steps)
    hidden = sum(step.weighted for step in steps) - 1
    acts = activations_of(activation, hidden)
    graph = Graph(source)
    plan = _Drawing(graph, layout, acts).draw(steps)
    proto = graph.finish(NAME, lambda name: name.endswith(UNUSED))
    return BuiltCheckpoint.of(
        source, proto, architecture=NAME, notes=_notes(plan, layout, steps, layers is None)
    )


class _Drawing:
    """The nodes of a plain network, step by step, and what was drawn, in words."""

    def __init__(self, graph: Graph, layout: str, acts: Sequence[str]) -> None:
        self.g = graph
        self.layout = layout
        self.acts = list(acts)
        self.plan: list[str] = []

    def draw(self, steps: Sequence[Step]) -> list[str]:
        first = steps[0].layer
        assert first is not None
        x, flow = self._input(first, steps[0]), None
        for at, step in enumerate(steps):
            x = self._step(x, step, flow)
            flow = after(step, flow, self.layout)
            normed = at + 1 < len(steps) and steps[at + 1].kind == "batchnorm"
            if (step.weighted or step.kind == "batchnorm") and not normed and self.acts:
                x = self._activate(x, step)
        assert flow is not None
        self.g.output(x, OUTPUT, ["batch", flow.width, *_axes(flow.rank, "output_")])
        return self.plan

    def _input(self, layer: Layer, step: Step) -> str:
        if step.kind == "dense":
            shape: list[int | str] = ["batch", widths(layer, self.layout)[0]]
        else:
            channels = layer.shape[1] * step.options.get("groups", 1)
            shape = ["batch", channels, *_axes(len(layer.shape) - 2)]
        self.plan.append(f"{INPUT} [{', '.join(map(str, shape))}]")
        return self.g.input(INPUT, FLOAT, shape)

    def _step(self, x: str, step: Step, flow: Flow | None) -> str:
        if step.layer is None:
            return self._pool(x, step, flow)
        draw = {"dense": self._dense, "conv": self._conv, "batchnorm": self._batchnorm}[step.kind]
        return draw(x, step, step.layer, flow)

    def _dense(self, x: str, step: Step, layer: Layer, flow: Flow | None) -> str:
        g, name = self.g, _value(layer)
        if flow is not None and flow.rank:
            x = str(g.Flatten(x, axis=1, name=f"{name}.flatten"))
            self.plan.append("flatten")
        inputs, outputs = widths(layer, self.layout)
        self.plan.append(f"{layer.called} {inputs} to {outputs}")
        operands = [x, g.weight(layer.weight, *layer.shape)]
        operands += [g.weight(layer.bias, outputs)] if layer.bias else []
        return str(g.Gemm(*operands, transB=int(self.layout == "oi"), name=name))

    def _conv(self, x: str, step: Step, layer: Layer, flow: Flow | None) -> str:
        g, rank = self.g, len(layer.shape) - 2
        stride, pad = step.options["stride"], step.options["pad"]
        dilation, groups = step.options.get("dilation", 1), step.options.get("groups", 1)
        kernel = "x".join(map(str, layer.shape[2:]))
        self.plan.append(
            f"{layer.called} convolution {layer.shape[1] * groups} to {layer.shape[0]}, kernel {kernel}, "
            f"stride {stride}, padding {pad}"
        )
        operands = [x, g.weight(layer.weight, *layer.shape)]
        operands += [g.weight(layer.bias, layer.shape[0])] if layer.bias else []
        return str(
            g.Conv(
                *operands,
                kernel_shape=list(layer.shape[2:]),
                strides=[stride] * rank,
                pads=[pad] * (2 * rank),
                dilations=[dilation] * rank,
                group=groups,
                name=_value(layer),
            )
        )

    def _batchnorm(self, x: str, step: Step, layer: Layer, flow: Flow | None) -> str:
        import numpy as np

        g, width = self.g, layer.shape[0]
        scale = g.weight(layer.weight, width) if layer.weight else np.ones(width, np.float32)
        shift = g.weight(layer.bias, width) if layer.bias else np.zeros(width, np.float32)
        mean, variance = g.weight(layer.mean, width), g.weight(layer.variance, width)
        self.plan.append(f"{layer.called} BatchNorm with epsilon {step.epsilon:g}")
        name = _value(layer)
        return str(g.BatchNormalization(x, scale, shift, mean, variance, epsilon=step.epsilon, name=name))

    def _pool(self, x: str, step: Step, flow: Flow | None) -> str:
        assert flow is not None
        if step.pool == "global":
            self.plan.append("global average pooling")
            return str(self.g.GlobalAveragePool(x))
        stride, pad = step.options.get("stride", step.size), step.options.get("pad", 0)
        self.plan.append(f"{step.pool} pooling {step.size}, stride {stride}, padding {pad}")
        kernel, strides, pads = [step.size] * flow.rank, [stride] * flow.rank, [pad] * (2 * flow.rank)
        more: dict[str, Any] = {} if step.pool == "max" else {"count_include_pad": 1}
        kind = "MaxPool" if step.pool == "max" else "AveragePool"
        return str(self.g.op(kind, x, kernel_shape=kernel, strides=strides, pads=pads, **more))

    def _activate(self, x: str, step: Step) -> str:
        act = self.acts.pop(0)
        self.plan.append(act)
        assert step.layer is not None
        return ACTIVATIONS[act](self.g, x, f"{step.layer.prefix or 'layer'}.act")


def _value(layer: Layer) -> str:
    """The name of what the layer gives, before its activation: the layer's, unless an end of the graph bears it."""
    name = layer.prefix or "layer"
    return f"{name}.z" if name in (INPUT, OUTPUT) else name


def _axes(rank: int, before: str = "") -> list[int | str]:
    return [f"{before}{axis}" for axis in _AXES[2 - rank :]] if rank else []


def _notes(plan: Sequence[str], layout: str, steps: Sequence[Step], was_inferred: bool) -> tuple[str, ...]:
    """The plan in words, and where it comes from."""
    shown = (
        [*plan[: _SHOWN - 1], f"… {len(plan) - _SHOWN:,} more …", plan[-1]]
        if len(plan) > _SHOWN
        else list(plan)
    )
    notes = [f"the network: {' -> '.join([*shown, OUTPUT])}"]
    if was_inferred:
        notes.append("the order of its layers was inferred from shapes and numbers in names: no other fits")
    else:
        notes.append("the order of its layers is the one that was given")
    if any(step.kind == "dense" for step in steps):
        notes.append(f"its dense weights are read as {LAYOUTS[layout]}; its last layer has no activation")
    if any(step.kind == "batchnorm" for step in steps):
        notes.append("the epsilon of its BatchNorm is not in the file")
    return tuple(printable(note, 4000) for note in notes)
