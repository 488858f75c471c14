"""Small networks of well-known shapes in PyTorch, with silent units planted, as its exporters write them.

Needs torch; knows nothing of nla. A unit is planted by its parameters alone, so that it is silent on any data.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FAR = -1e4
"""A bias that silences a unit for good, in half precision too."""
VALUE = 0.7
SAMPLES = 12
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
PRODUCERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, *NORMS)


@dataclass(frozen=True)
class Planted:
    """Silent units of one layer."""

    label: str
    width: int
    dead: frozenset[int]
    constant: frozenset[int] = frozenset()

    @property
    def units(self) -> list[int]:
        return sorted(self.dead | self.constant)


@dataclass
class Network:
    """A module, what was planted in it, and the sizes of its inputs."""

    module: nn.Module
    inputs: dict[str, tuple[int, ...]]
    tokens: int = 0
    """Inputs are numbers below this, where it is not 0."""
    planted: list[Planted] = field(default_factory=list)

    def feeds(self, seed: int) -> dict[str, NDArray[Any]]:
        """Seeded samples for every input."""
        numbers = np.random.default_rng(seed)
        shapes = {name: (SAMPLES, *shape) for name, shape in self.inputs.items()}
        if self.tokens:
            return {name: numbers.integers(0, self.tokens, shape) for name, shape in shapes.items()}
        return {name: numbers.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def export(self, *, dynamo: bool = False, opset: int = 17, norms: bool = False) -> onnx.ModelProto:
        """The ONNX model, its batch of any size; `norms`: BatchNorm is not folded into convolutions."""
        names = list(self.inputs)
        samples = tuple(torch.from_numpy(value[:2]) for value in self.feeds(0).values())
        options: dict[str, Any] = {"opset_version": opset, "input_names": names, "dynamo": dynamo}
        if dynamo:
            shapes = tuple({0: torch.export.Dim("n", min=1, max=4096)} for _ in names)
            program = torch.onnx.export(self.module, samples, dynamic_shapes=shapes, verbose=False, **options)
            return program.model_proto
        written, mode = io.BytesIO(), torch.onnx.TrainingMode
        options |= {"dynamic_axes": {name: {0: "n"} for name in names}}
        options |= {"training": mode.PRESERVE if norms else mode.EVAL}
        torch.onnx.export(self.module, samples, written, **options)
        return onnx.load_from_string(written.getvalue())


# --- planting


def network(
    module: nn.Module, inputs: dict[str, tuple[int, ...]], *, tokens: int = 0, alike: bool = False
) -> Network:
    """The module with a quarter of the units of every activation silenced and one made constant.

    `alike`: layers of one width get the same units, so that those that are tied to one another are silent together.
    """
    made = Network(module.eval(), inputs, tokens)
    _unsettle(module)
    for place, (label, producer) in enumerate(_producers(made)):
        width = producer.bias.shape[0]
        order = np.random.default_rng([width] if alike else [place, width]).permutation(width)
        count = max(1, width // 4)
        planted = Planted(
            label, width, frozenset(order[:count].tolist()), frozenset(order[count : count + 1].tolist())
        )
        _plant(producer, planted)
        made.planted.append(planted)
    return made


def _unsettle(module: nn.Module) -> None:
    """Norms that do something."""
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, NORMS):
                size = norm.weight.shape
                norm.weight.copy_(torch.rand(size, generator=numbers) * 0.8 + 0.6)
                norm.bias.copy_(torch.randn(size, generator=numbers) * 0.3)
                norm.running_mean.copy_(torch.randn(size, generator=numbers) * 0.2)
                norm.running_var.copy_(torch.rand(size, generator=numbers) + 0.5)


def _producers(made: Network) -> list[tuple[str, Any]]:
    """Layers whose output an activation reads, in the order of a run."""
    names = {module: name for name, module in made.module.named_modules()}
    outputs: dict[int, Any] = {}
    found: dict[Any, str] = {}
    alive = []

    def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        alive.append(output)
        if isinstance(module, PRODUCERS):
            outputs[id(output)] = module
        elif isinstance(module, ACTIVATIONS) and id(given[0]) in outputs:
            producer = outputs[id(given[0])]
            found.setdefault(producer, names[producer])

    hooks = [module.register_forward_hook(look) for module in made.module.modules()]
    with torch.no_grad():
        made.module(*(torch.from_numpy(value) for value in made.feeds(0).values()))
    for hook in hooks:
        hook.remove()
    return [(name, producer) for producer, name in found.items() if producer.bias is not None]


def _plant(producer: Any, planted: Planted) -> None:
    with torch.no_grad():
        for unit in planted.constant:
            producer.weight.select(1 if isinstance(producer, nn.ConvTranspose2d) else 0, unit).zero_()
            producer.bias[unit] = VALUE
        for unit in planted.dead:
            producer.bias[unit] = FAR


def silence_heads(made: Network) -> Network:
    """The second head of keys and values of every attention gives zero, so that the heads that read it do."""
    with torch.no_grad():
        for label, module in made.module.named_modules():
            if isinstance(module, Attention):
                module.value.weight[module.size : 2 * module.size] = 0
                module.value.bias[module.size : 2 * module.size] = 0
                each = module.heads // module.groups
                made.planted.append(Planted(label, module.heads, frozenset(range(each, 2 * each))))
    return made


def silence_cells(made: Network) -> Network:
    """Two hidden units of every LSTM whose output gate is closed."""
    with torch.no_grad():
        for label, module in made.module.named_modules():
            if isinstance(module, nn.LSTM):
                size = module.hidden_size
                biases = [getattr(module, name) for name in dir(module) if name.startswith("bias_ih")]
                for bias in biases:
                    bias[[3 * size + 1, 3 * size + 4]] = FAR
                units = {unit + k * size for unit in (1, 4) for k in range(len(biases))}
                made.planted.append(Planted(label, size * len(biases), frozenset(units)))
    return made


# --- blocks


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    """A convolution that keeps the size, its BatchNorm, and an activation unless that is None."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    """A bottleneck of ResNet."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(inputs, inner, 1),
            convolution(inner, inner, 3, stride),
            convolution(inner, outputs, 1, act=None),
        )
        self.way = convolution(inputs, outputs, 1, stride, act=None) if inputs != outputs else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.branch(x) + self.way(x))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, inner: int, act: Any, gate: Any) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            act(),
            nn.Conv2d(inner, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """An inverted bottleneck of MobileNet and EfficientNet."""

    def __init__(self, channels: int, inner: int, act: Any, squeeze: nn.Module | None = None) -> None:
        super().__init__()
        between = [squeeze] if squeeze is not None else []
        self.branch = nn.Sequential(
            convolution(channels, inner, 1, act=act),
            convolution(inner, inner, groups=inner, act=act),
            *between,
            convolution(inner, channels, 1, act=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Shuffled(nn.Module):
    """A unit of ShuffleNet V2: half of the channels pass, then both halves are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            convolution(half, half, 1),
            convolution(half, half, groups=half, act=None),
            convolution(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        joined = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Partial(nn.Module):
    """A C2f block of YOLO."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.first = convolution(inputs, outputs, 1, act=nn.SiLU)
        self.inner = nn.Sequential(convolution(half, half, act=nn.SiLU), convolution(half, half, act=nn.SiLU))
        self.last = convolution(3 * half, outputs, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).chunk(2, 1)
        return self.last(torch.cat([left, right, right + self.inner(right)], 1))


class Skips(nn.Module):
    """A U-Net of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = convolution(3, 12), convolution(12, 16)
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 12, 4, 2, 1), nn.ReLU())
        self.wide = nn.Upsample(scale_factor=2)
        self.last = nn.Sequential(convolution(40, 8), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.deep(functional.max_pool2d(fine, 2))
        return self.last(torch.cat([self.up(coarse), fine, self.wide(coarse)], 1))


class Dilated(nn.Module):
    """A layer of WaveNet."""

    def __init__(self, channels: int, inner: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.value, self.gate = (nn.Conv1d(channels, inner, 2, dilation=dilation) for _ in range(2))
        self.tanh, self.sigmoid = nn.Tanh(), nn.Sigmoid()
        self.out = nn.Conv1d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (self.dilation, 0))
        return x + self.out(self.tanh(self.value(before)) * self.sigmoid(self.gate(before)))


class Twins(nn.Module):
    """One encoder for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()
        )
        self.last = nn.Linear(32, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.last(torch.cat([self.encoder(x).mean([2, 3]) for x in (a, b)], 1))


class Recurrent(nn.Module):
    """A dense layer, a bidirectional LSTM and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.cells = nn.LSTM(12, 10, batch_first=True, bidirectional=True)
        self.last = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cells(self.first(x))[0][:, -1])


class Attention(nn.Module):
    """Attention with perhaps fewer heads of keys and values, and with rotated queries and keys."""

    def __init__(self, width: int, heads: int, groups: int, rotated: bool, fused: bool) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.rotated, self.fused = rotated, fused
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = (nn.Linear(width, groups * self.size) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q = self.query(x).view(n, t, self.heads, self.size).transpose(1, 2)
        k, v = (f(x).view(n, t, self.groups, self.size).transpose(1, 2) for f in (self.key, self.value))
        if self.rotated:
            angle = torch.arange(t)[:, None] * 10.0 ** -torch.arange(0, self.size, 2)[None]
            q, k = (self._turn(each, torch.cat([angle, angle], -1)) for each in (q, k))
        if self.groups < self.heads:
            each = self.heads // self.groups
            spread = [y[:, :, None].expand(n, self.groups, each, t, self.size) for y in (k, v)]
            k, v = (y.reshape(n, self.heads, t, self.size) for y in spread)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-1, -2) / math.sqrt(self.size)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, width))

    def _turn(self, y: Tensor, angle: Tensor) -> Tensor:
        half = self.size // 2
        return y * angle.cos() + torch.cat([-y[..., half:], y[..., :half]], -1) * angle.sin()


class Block(nn.Module):
    """A transformer block, the normalisation first."""

    def __init__(self, width: int, act: Any = nn.GELU, **attention: Any) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 4, **{"groups": 4, "rotated": False, "fused": False, **attention})
        self.mlp = nn.Sequential(nn.Linear(width, 32), act(), nn.Linear(32, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class Words(nn.Module):
    """A language model whose table of words is its last layer too."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.table, self.block, self.norm = nn.Embedding(50, 16), Block(16, **options), nn.LayerNorm(16)
        self.last = nn.Linear(16, 50, bias=False)
        self.last.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.norm(self.block(self.table(ids))))


class Classifier(nn.Module):
    """Blocks on a map, pooled, and a dense layer; the map is 3 channels of 16 by 16."""

    def __init__(self, width: int, blocks: Sequence[nn.Module], outputs: int, act: Any = nn.ReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(3, width, stride=2, act=act), *blocks)
        self.last = nn.Linear(outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))
