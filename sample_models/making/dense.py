"""Stories of plain multilayer perceptrons on the digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from making.data import TRAINED_ON, digits
from making.graphs import layer_weights, model
from making.reference import dense
from making.story import Site, Story
from making.train import Layers, float32, read_out, train_mlp

Floats = NDArray[np.float64]
BLANK_PIXELS = (0, 32, 39)
"""Pixels that are zero in all 1,797 digits."""


def mlp_text(name: str, hidden: int, operator: str = "Relu") -> str:
    """An MLP of Gemm and the activation `operator` in ONNX text; `/fc1/Relu` is the first site."""
    lines, last = [], "x"
    for k in range(1, hidden + 1):
        lines += [f'"/fc{k}/Gemm" = Gemm <transB = 1> ({last}, "fc{k}.weight", "fc{k}.bias")']
        last = f'"/fc{k}/{operator}"'
        lines += [f'{last} = {operator} ("/fc{k}/Gemm")']
    lines += [f'logits = Gemm <transB = 1> ({last}, "fc{hidden + 1}.weight", "fc{hidden + 1}.bias")']
    return f"{name} (float[n, 64] x) => (float[n, 10] logits) {{ {chr(10).join(lines)} }}"


def dense_sites(
    seen: list[tuple[Floats, Floats]],
    names: Sequence[str],
    activation: str,
    planted: Sequence[dict[str, list[int]]] | None = None,
) -> list[Site]:
    """The hidden layers that `reference.dense` saw, as sites of one position a sample."""
    plan = planted or [{} for _ in names]
    return [
        Site(name, "dense", activation, 1, z[:, None], a[:, None], planted=states)
        for name, (z, a), states in zip(names, seen, plan, strict=False)
    ]


def relu_story(
    name: str, tells: str, layers: Layers, planted: Sequence[dict[str, list[int]]] | None = None
) -> Story:
    """The story of a ReLU network with these layers."""
    x, y = digits()
    hidden = len(layers) - 1
    seen = dense(layers, "Relu", x.astype(np.float64))
    names = [f"/fc{k}/Relu" for k in range(1, hidden + 1)]
    proto = model(mlp_text(name, hidden), layer_weights(layers))
    return Story(name, tells, proto, {"x": x, "y": y}, dense_sites(seen, names, "Relu", planted), seen[-1][0])


def trained(
    hidden: list[int], activation: str, learning_rate: float, *, epochs: int = 30, seed: int = 0
) -> Layers:
    """A network trained on the first 1,397 digits."""
    x, y = digits()
    x, y = x[:TRAINED_ON], y[:TRAINED_ON]
    return train_mlp(x, y, hidden, activation, learning_rate=learning_rate, epochs=epochs, seed=seed)


def with_read_out(layers: Layers, activation: str) -> Layers:
    """The same hidden layers, the read-out fitted to what they now give: planting must not ruin it."""
    x, y = digits()
    features = dense(layers, activation, x.astype(np.float64))[-2][1]
    return [*layers[:-1], read_out(features[:TRAINED_ON], y[:TRAINED_ON])]


def dying_relu() -> Story:
    """Adam at 0.03, thirty times the usual rate, kills most of the first layer; the accuracy hides it."""
    tells = "Adam at a rate of 0.03: most neurons die, and the accuracy does not show it"
    return relu_story("dying_relu", tells, trained([128, 128, 128], "Relu", 0.03, seed=10))


def healthy_layers() -> Layers:
    """The twin's weights, which three samples share."""
    return trained([128, 128, 128], "Relu", 0.001, seed=10)


def healthy() -> Story:
    """The same network, data, seed and epochs at the usual rate."""
    return relu_story("healthy", "the twin of dying_relu at a rate of 0.001", healthy_layers())


def saturated_tanh() -> Story:
    """Sixteen of 48 tanh units whose incoming weights are 2,000 times too large: ±1 and nothing between."""
    layers = trained([48], "Tanh", 0.002)
    (w, b), planted = layers[0], list(range(0, 48, 3))
    w[planted], b[planted] = float32(w[planted] * 2000), float32(b[planted] * 2000)
    layers = with_read_out(layers, "Tanh")
    x, y = digits()
    seen = dense(layers, "Tanh", x.astype(np.float64))
    text = """saturated_tanh (float[n, 64] x) => (float[n, 10] logits) {
      product = MatMul (x, "fc1.weight_t")
      "/fc1/Add" = Add (product, "fc1.bias")
      "/fc1/Tanh" = Tanh ("/fc1/Add")
      logits = Gemm <transB = 1> ("/fc1/Tanh", "fc2.weight", "fc2.bias")
    }"""
    weights = layer_weights(layers)
    weights["fc1.weight_t"] = weights.pop("fc1.weight").T
    sites = dense_sites(seen, ["/fc1/Tanh"], "Tanh", [{"saturated": planted}])
    tells = "16 of 48 units have weights 2,000 times too large: stuck at ±1 (MatMul + Add)"
    return Story("saturated_tanh", tells, model(text, weights), {"x": x, "y": y}, sites, seen[-1][0])


def plant(layer: tuple[Floats, Floats], units: list[int], gain: float, bias: float) -> None:
    """Scales the units' incoming weights by `gain` and sets their bias, in place."""
    layer[0][units], layer[1][units] = float32(layer[0][units] * gain), bias


def dormant_gelu() -> Story:
    """GELU written out with Erf, then the operator of opset 20; a few units dormant, a few dead."""
    layers = trained([48, 48], "Gelu", 0.002)
    dormant, dead = [3, 11, 19, 27, 35, 43], [5, 25]
    for layer in layers[:2]:
        plant(layer, dormant, 0.005, 0.0)
        plant(layer, dead, 0.01, -30.0)
    layers = with_read_out(layers, "Gelu")
    x, y = digits()
    seen = dense(layers, "Gelu", x.astype(np.float64))
    text = """dormant_gelu (float[n, 64] x) => (float[n, 10] logits)
    <float root_two = {1.4142135381698608}, float one = {1.0}, float half = {0.5}> {
      "/fc1/Gemm" = Gemm <transB = 1> (x, "fc1.weight", "fc1.bias")
      scaled = Div ("/fc1/Gemm", root_two)
      erf = Erf (scaled)
      erf_1 = Add (erf, one)
      product = Mul ("/fc1/Gemm", erf_1)
      "/fc1/Gelu" = Mul (product, half)
      "/fc2/Gemm" = Gemm <transB = 1> ("/fc1/Gelu", "fc2.weight", "fc2.bias")
      "/fc2/Gelu" = Gelu ("/fc2/Gemm")
      logits = Gemm <transB = 1> ("/fc2/Gelu", "fc3.weight", "fc3.bias")
    }"""
    planted = [{"dormant": dormant, "dead": dead}] * 2
    sites = dense_sites(seen, ["/fc1/Gelu", "/fc2/Gelu"], "Gelu", planted)
    tells = "GELU, written out with Erf and as an operator: 6 dormant and 2 dead in each layer"
    proto = model(text, layer_weights(layers), opset=20, ir_version=9)
    return Story("dormant_gelu", tells, proto, {"x": x, "y": y}, sites, seen[-1][0])


def constant_units() -> Story:
    """Units that see only pixels that are always blank: constant where the bias is positive, else dead."""
    layers = trained([64, 32], "Relu", 0.002)
    constant, dead, zeroed = list(range(0, 64, 8)), [1, 33, 57], [2, 12, 22, 31]
    w, b = layers[0]
    for units in (constant, dead):
        w[units] = np.where(np.isin(np.arange(64), BLANK_PIXELS), 0.5, 0.0)
    b[constant], b[dead] = float32(np.linspace(0.25, 2, len(constant))), -1.0
    layers[1][0][zeroed], layers[1][1][zeroed] = 0.0, 1.5
    layers = with_read_out(layers, "Relu")
    planted = [{"constant": constant, "dead": dead}, {"constant": zeroed}]
    tells = "8 units see only pixels that are always blank, 4 see nothing: constant, not dead; 3 are dead"
    return relu_story("constant_units", tells, layers, planted)


def shared_initializers() -> Story:
    """The second and third layer share weight and bias, so a unit killed by the bias is dead in both."""
    layers = trained([32], "Relu", 0.002)
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((32, 32)))[0]
    shared = float32(q * 1.5), float32(np.full(32, 0.1))
    shared[1][[4, 20]] = -100.0
    layers = with_read_out([layers[0], shared, shared, layers[1]], "Relu")
    x, y = digits()
    seen = dense(layers, "Relu", x.astype(np.float64))
    text = mlp_text("shared_initializers", 3).replace('"fc3.', '"fc2.')
    weights = {k: v for k, v in layer_weights(layers).items() if not k.startswith("fc3")}
    names = [f"/fc{k}/Relu" for k in (1, 2, 3)]
    sites = dense_sites(seen, names, "Relu", [{}, {"dead": [4, 20]}, {"dead": [4, 20]}])
    tells = "two layers share one weight and one bias; 2 units are dead in both"
    proto = model(text, weights)
    return Story("shared_initializers", tells, proto, {"x": x, "y": y}, sites, seen[-1][0])


def external_data() -> Story:
    """Weights in one file beside the model."""
    layers = trained([32, 32], "Relu", 0.002)
    plant(layers[0], [7, 8, 9], 0.01, -5.0)
    tells = "weights in one external file; 3 dead"
    story = relu_story("external_data", tells, with_read_out(layers, "Relu"), [{"dead": [7, 8, 9]}, {}])
    story.external_file = "weights.bin"
    return story


STORIES: tuple[Callable[[], Story], ...] = (
    dying_relu,
    healthy,
    saturated_tanh,
    dormant_gelu,
    constant_units,
    shared_initializers,
    external_data,
)
