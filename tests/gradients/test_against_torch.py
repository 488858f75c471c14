"""Gradients of layers, neurons and weights against PyTorch's, on networks that PyTorch wrote."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nla

torch = pytest.importorskip("torch")

import exported_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
CLASSES, SAMPLES = 5, 24
ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(init=0.3),
    "elu": nn.ELU(1.2),
    "selu": nn.SELU(),
    "celu": nn.CELU(0.8),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(-0.8, 0.9),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "relu6": nn.ReLU6(),
}


class Cnn(nn.Module):
    """Strides, dilations, groups, BatchNorm, both poolings."""

    def __init__(self):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.c2 = nn.Conv2d(8, 12, 3, dilation=2, padding=2, groups=4)
        self.c3 = nn.Conv2d(12, 8, (3, 1), padding=(1, 0), bias=False)
        self.out = nn.Linear(8 * 2 * 2, CLASSES)
        self.acts = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
        self.made = [self.c1, self.c2, self.c3]

    def forward(self, x):
        x = functional.max_pool2d(self.acts[0](self.n1(self.c1(x))), 3, 2, 1)
        x = functional.avg_pool2d(self.acts[1](self.c2(x)), 2, 1)
        return self.out(functional.avg_pool2d(self.acts[2](self.c3(x)), 2, 1).flatten(1))


class Residual(nn.Module):
    """Blocks whose inputs are added to what they make."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.convs = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1) for _ in range(4)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(6) for _ in range(4)])
        self.out = nn.Linear(6, CLASSES)
        self.acts = nn.ModuleList([nn.ReLU() for _ in range(5)])
        self.made = [self.stem, self.convs[0], None, self.convs[2], None]

    def forward(self, x):
        x = self.acts[0](self.stem(x))
        for k in (0, 2):
            inner = self.acts[k + 1](self.norms[k](self.convs[k](x)))
            x = self.acts[k + 2](x + self.norms[k + 1](self.convs[k + 1](inner)))
        return self.out(x.mean((2, 3)))


class Generator(nn.Module):
    """Padding that repeats values, norms of groups and samples, resizing, transposed convolution, shuffled pixels."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.c2 = nn.Conv2d(8, 6, 3, padding=1, padding_mode="replicate", bias=False)
        self.c3 = nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1)
        self.n1, self.n2 = nn.GroupNorm(2, 8), nn.InstanceNorm2d(6, affine=True)
        self.out = nn.Linear(2, CLASSES)
        self.acts = nn.ModuleList([nn.ReLU(), nn.SiLU(), nn.GELU()])
        self.made = [self.c1, self.c2, None]

    def forward(self, x):
        x = functional.max_pool2d(self.acts[0](self.n1(self.c1(x))), 2)
        x = functional.interpolate(x, scale_factor=1.5, mode="bilinear")
        x = self.acts[1](self.n2(self.c2(x)))
        x = functional.pixel_shuffle(self.acts[2](self.c3(x)), 2)
        return self.out(functional.normalize(x.flatten(2), dim=2).mean(2) + x.amax((2, 3)))


class Transformer(nn.Module):
    """Attention, written out by the exporter, LayerNorm and GELU."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(7, 16)
        self.attention = nn.Linear(16, 48)
        self.first, self.second, self.out = nn.Linear(16, 24), nn.Linear(24, 16), nn.Linear(16, CLASSES)
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])
        self.acts = nn.ModuleList([nn.Tanh(), nn.GELU()])
        self.made = [self.into, self.first]

    def forward(self, x):
        x = self.acts[0](self.into(x))
        q, k, v = self.attention(self.norms[0](x)).chunk(3, -1)
        q, k, v = (part.reshape(-1, 6, 2, 8).transpose(1, 2) for part in (q, k, v))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1) @ v
        x = x + mixed.transpose(1, 2).reshape(-1, 6, 16)
        x = x + self.second(self.acts[1](self.first(self.norms[1](x))))
        return self.out(x[:, 0])


def dense(names):
    """A layer for each activation, of different widths."""
    widths = [12, *(20 - 2 * k for k in range(len(names)))]
    made = [nn.Linear(before, width) for before, width in itertools.pairwise(widths)]
    layers = itertools.chain.from_iterable(zip(made, (ACTIVATIONS[name] for name in names), strict=True))
    module = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))
    module.made = made
    return module


def settled(module, shape):
    """With weights that differ, and norms that saw something."""
    torch.manual_seed(4)
    for name, value in module.named_parameters():
        if value.dim() > 1:
            nn.init.normal_(value, std=1.5 / value[0].numel() ** 0.5)
        elif "bias" in name:
            nn.init.normal_(value, std=0.3)
    module.train()
    module(torch.randn(64, *shape))
    return module.eval()


def by_torch(module, x, labels):
    """(z of each activation with its gradient of the summed loss, logits, gradients of the mean loss by parameter)"""
    seen = []
    kinds = tuple(type(each) for each in ACTIVATIONS.values())
    hooks = [
        each.register_forward_pre_hook(lambda _, given: seen.append(given[0]) or given[0].retain_grad())
        for each in module.modules()
        if isinstance(each, kinds)
    ]
    logits = module(torch.from_numpy(x))
    logits.retain_grad()
    functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum").backward()
    for hook in hooks:
        hook.remove()
    return [z.grad.numpy() for z in seen], logits.grad.numpy()


def compared(module, shape, tmp_path, **options):
    """Measure both, and hold them together."""
    module = settled(module, shape)
    network = exported_models.Network(module, {"x": shape})
    path = tmp_path / "model.onnx"
    path.write_bytes(network.export(norms=True, **options).SerializeToString())
    rng = np.random.default_rng(5)
    x = rng.standard_normal((SAMPLES, *shape)).astype(np.float32)
    labels = rng.integers(0, CLASSES, SAMPLES)
    module.zero_grad()
    gradients, of_logits = by_torch(module.eval(), x, labels)
    found = nla.gradient(path, {"x": x}, labels=labels, in_process=True)
    assert len(found.layers) == len(gradients) + 1
    for layer, gradient, maker in zip(
        found.layers, [*gradients, of_logits], [*module.made, None], strict=True
    ):
        parts = gradient.astype(np.float64)
        if gradient.ndim == 3:  # tokens, whose neurons lie on the last axis
            parts = parts.transpose(0, 2, 1)
        parts = parts.reshape(SAMPLES, layer.neurons, -1)
        norms = np.sqrt(np.square(parts).sum((1, 2)))
        assert layer.mean == pytest.approx(norms.mean(), rel=1e-5)
        assert layer.quantiles == pytest.approx(np.quantile(norms, [0.05, 0.25, 0.5, 0.75, 0.95]), rel=1e-5)
        close(layer.rms, np.sqrt(np.square(parts).sum((0, 2)) / SAMPLES))
        close(layer.peak, np.abs(parts).max((0, 2)))
        if maker is not None:
            rows = maker.weight.grad.numpy().reshape(layer.neurons, -1) / SAMPLES
            close(layer.row_norm, np.linalg.norm(rows, axis=1))
            if maker.bias is not None:
                close(layer.bias_abs, np.abs(maker.bias.grad.numpy()) / SAMPLES)
    return found


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("first", [0, 6, 12])
def test_a_dense_network_with_every_activation(first, tmp_path):
    found = compared(dense(list(ACTIVATIONS)[first : first + 6]), (12,), tmp_path)
    for layer in found.layers[:-1]:
        assert layer.bound is None or layer.bound.log10_apart > -1e-6


def test_a_transformer(tmp_path):
    compared(Transformer(), (6, 7), tmp_path)


@pytest.mark.parametrize("build", [Cnn, Residual, Generator])
def test_a_convolutional_network(build, tmp_path):
    found = compared(build(), (3, 16, 14), tmp_path)
    bounded = [layer.bound for layer in found.layers if layer.bound is not None]
    assert bounded
    assert all(bound.log10_apart > -1e-6 for bound in bounded)
    assert all(layer.bound or layer.unbounded for layer in found.layers[:-1])
