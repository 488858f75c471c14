"""ResNet of transformers: convolutions, BatchNorm, residual layers of two (basic) or three (bottleneck) of them.

Source: He et al. 2016 as transformers writes it: only the stem and the end of a residual layer have `hidden_act`,
between them it is always ReLU; a bottleneck strides in its 3×3 convolution unless `downsample_in_bottleneck`.
"""

from __future__ import annotations

from dataclasses import dataclass

from nla.architectures.builder import FLOAT, Graph
from nla.architectures.config import Config
from nla.architectures.functions import activate
from nla.errors import ModelError, printable

_EPSILON = 1e-5
"""Of every BatchNorm: PyTorch's default, which transformers leaves."""
_REDUCTION = 4
_BETWEEN = "relu"
_MOST_LAYERS = 4096


@dataclass(frozen=True)
class _Conv:
    """One convolution of a residual layer."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    act: str | None


def resnet(g: Graph, config: Config) -> None:
    """The graph: outputs `last_hidden_state`, `pooler_output` and, where there is a classifier, `logits`."""
    prefix = "" if g.has("embedder.embedder.convolution.weight") else "resnet."
    act = config.text("hidden_act", default="relu")
    channels = config.count("num_channels", default=3)
    width = config.count("embedding_size", default=64)
    pixels = g.input("pixel_values", FLOAT, ["batch", channels, "height", "width"])
    stem = _unit(g, pixels, f"{prefix}embedder.embedder", _Conv(channels, width, 7, 2, act))
    x = g.cut(
        g.MaxPool(stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, name=f"{prefix}embedder.pooler")
    )
    for module, inputs, outputs, stride in _residual_layers(config, prefix, width):
        x, width = g.cut(_residual(g, x, module, _main_path(config, inputs, outputs, stride), act)), outputs
    g.output(x, "last_hidden_state", ["batch", width, "rows", "columns"])
    pooled = g.GlobalAveragePool(x, name=f"{prefix}pooler")
    g.output(pooled, "pooler_output", ["batch", width, 1, 1])
    if g.has("classifier.1.weight"):
        _classifier(g, pooled, width)


def _residual_layers(config: Config, prefix: str, width: int) -> list[tuple[str, int, int, int]]:
    """Module, input channels, output channels and stride of every residual layer."""
    sizes = config.numbers("hidden_sizes", default=(256, 512, 1024, 2048))
    depths = config.numbers("depths", default=(3, 4, 6, 3))
    if len(sizes) != len(depths) or not sizes or sum(depths) > _MOST_LAYERS:
        raise ModelError(
            f"config.json: hidden_sizes has {len(sizes)} stages and depths {len(depths)}, of {sum(depths):,} layers: "
            f"expected as many, of at most {_MOST_LAYERS:,} layers"
        )
    found = []
    for stage, (outputs, depth) in enumerate(zip(sizes, depths, strict=True)):
        halves = stage > 0 or config.flag("downsample_in_first_stage", default=False)
        for at in range(depth):
            module = f"{prefix}encoder.stages.{stage}.layers.{at}"
            found.append((module, width, outputs, 2 if halves and at == 0 else 1))
            width = outputs
    return found


def _main_path(config: Config, inputs: int, outputs: int, stride: int) -> list[_Conv]:
    """The convolutions of one residual layer."""
    kind = config.text("layer_type", default="bottleneck")
    if kind == "basic":
        return [_Conv(inputs, outputs, 3, stride, _BETWEEN), _Conv(outputs, outputs, 3, 1, None)]
    if kind != "bottleneck":
        raise ModelError(f"config.json: layer_type is '{printable(kind)}': expected 'basic' or 'bottleneck'")
    inner = outputs // _REDUCTION
    first = stride if config.flag("downsample_in_bottleneck", default=False) else 1
    return [
        _Conv(inputs, inner, 1, first, _BETWEEN),
        _Conv(inner, inner, 3, stride // first, _BETWEEN),
        _Conv(inner, outputs, 1, 1, None),
    ]


def _residual(g: Graph, x: str, module: str, convs: list[_Conv], act: str) -> str:
    """A residual layer; the shortcut has a convolution where channels or stride change."""
    inputs, outputs = convs[0].inputs, convs[-1].outputs
    stride = max(conv.stride for conv in convs)
    y = x
    for at, conv in enumerate(convs):
        y = _unit(g, y, f"{module}.layer.{at}", conv)
    if inputs != outputs or stride != 1:
        x = _unit(g, x, f"{module}.shortcut", _Conv(inputs, outputs, 1, stride, None))
    return activate(g, str(g.Add(y, x, name=f"{module}.sum")), act, f"{module}.activation")


def _unit(g: Graph, x: str, module: str, conv: _Conv) -> str:
    """Convolution, BatchNorm, and the activation that it ends with, if any."""
    weight = g.weight(f"{module}.convolution.weight", conv.outputs, conv.inputs, conv.kernel, conv.kernel)
    kernel, strides, pads = [conv.kernel] * 2, [conv.stride] * 2, [conv.kernel // 2] * 4
    y = g.Conv(x, weight, kernel_shape=kernel, strides=strides, pads=pads, name=f"{module}.convolution")
    norm = f"{module}.normalization"
    given = (
        g.weight(f"{norm}.{leaf}", conv.outputs) for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    y = str(g.BatchNormalization(y, *given, epsilon=_EPSILON, name=norm))
    return y if conv.act is None else activate(g, y, conv.act, f"{module}.activation")


def _classifier(g: Graph, pooled: str, width: int) -> None:
    labels = g.shape("classifier.1.weight")[0] if g.shape("classifier.1.weight") else 0
    flat = g.Flatten(pooled, axis=1, name="classifier.0")
    g.output(g.linear(flat, "classifier.1", width, labels), "logits", ["batch", labels])
