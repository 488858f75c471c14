"""Stories of fewer bits: int8 with QuantizeLinear and DequantizeLinear, and float16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.data import digits
from making.dense import dense_sites, healthy_layers, mlp_text, trained, with_read_out
from making.graphs import layer_weights, model
from making.reference import dense
from making.story import Site, Story
from making.train import float32

Floats = NDArray[np.float64]
INPUT_SCALE = 1 / 128  # the digits are multiples of 1/16: nothing is lost
ROUNDING_TIE = 2e-4
"""Distance from a tie, in quantisation steps, within which float32 could round to the other side."""


def quantised(values: Floats, scale: float) -> Floats:
    """uint8 codes of non-negative values, zero point 0, ties to even."""
    return np.clip(np.rint(values / scale), 0, 255)


def near_tie(values: Floats, scale: float) -> NDArray[np.bool_]:
    """[n] samples with a value that lies between two codes."""
    steps = values / scale
    return np.asarray((np.abs(steps - np.floor(steps) - 0.5) < ROUNDING_TIE).any(1))


def qdq_layer(k: int, last: str) -> str:
    """Input, weight and bias dequantised, Gemm, Relu, output quantised, in ONNX text."""
    return f"""
      "x{k}.f" = DequantizeLinear ({last}, "x{k}.scale", zero_u8)
      "fc{k}.weight.f" = DequantizeLinear <axis = 0> ("fc{k}.weight", "fc{k}.scale", "fc{k}.zero")
      "fc{k}.bias.f" = DequantizeLinear <axis = 0> ("fc{k}.bias", "fc{k}.bias_scale", "fc{k}.bias_zero")
      "/fc{k}/Gemm" = Gemm <transB = 1> ("x{k}.f", "fc{k}.weight.f", "fc{k}.bias.f")
      "/fc{k}/Relu" = Relu ("/fc{k}/Gemm")
      "x{k + 1}" = QuantizeLinear ("/fc{k}/Relu", "x{k + 1}.scale", zero_u8)"""


def qdq_text(hidden: int) -> str:
    """The whole QDQ network; the read-out stays in float, as it often does."""
    body = '"x1" = QuantizeLinear (x, "x1.scale", zero_u8)'
    body += "".join(qdq_layer(k, f'"x{k}"') for k in range(1, hidden + 1))
    last = hidden + 1
    body += f"""
      "x{last}.f" = DequantizeLinear ("x{last}", "x{last}.scale", zero_u8)
      logits = Gemm <transB = 1> ("x{last}.f", "fc{last}.weight", "fc{last}.bias")"""
    return f"qdq_int8 (float[n, 64] x) => (float[n, 10] logits) {{ {body} }}"


def qdq_int8() -> Story:
    """The healthy network with int8 weights per output channel and uint8 activations."""
    layers, (x, y) = healthy_layers(), digits()
    weights: dict[str, Any] = {"zero_u8": np.uint8(0), "x1.scale": np.float32(INPUT_SCALE)}
    names = [f"/fc{k}/Relu" for k in range(1, len(layers))]
    h, scale = x.astype(np.float64), INPUT_SCALE
    seen, ties = [], np.zeros(len(x), bool)
    for k, (w, b) in enumerate(layers[:-1], 1):
        step = float32(np.abs(w).max(1) / 127)
        codes, bias_step = np.rint(w / step[:, None]), float32(step * scale)
        bias = np.rint(b / bias_step)
        weights |= {
            f"fc{k}.weight": codes.astype(np.int8),
            f"fc{k}.scale": step,
            f"fc{k}.bias_scale": bias_step,
        }
        weights |= {f"fc{k}.zero": np.zeros(len(w), np.int8), f"fc{k}.bias_zero": np.zeros(len(w), np.int32)}
        weights |= {f"fc{k}.bias": bias.astype(np.int32)}
        z = h @ (codes * step[:, None]).T + bias * bias_step
        a = np.maximum(z, 0)
        seen.append((z, a))
        scale = float(np.float32(a.max() / 255))
        weights[f"x{k + 1}.scale"] = np.float32(scale)
        ties |= near_tie(a, scale)
        h = quantised(a, scale) * scale
    weights |= {"fc4.weight": layers[-1][0], "fc4.bias": layers[-1][1]}
    logits = h @ layers[-1][0].T + layers[-1][1]
    proto = model(qdq_text(3), {k: np.asarray(v) for k, v in weights.items()})
    story = Story("qdq_int8", "the healthy twin in int8 (QDQ)", proto, {"x": x, "y": y}, [], logits)
    story.sites, story.uncertain = dense_sites(seen, names, "Relu"), ties
    return story


def float16_site(site: Site) -> Site:
    """The site with a wider band of samples whose sign float16 cannot be trusted with."""
    site.borderline = 2e-3
    return site


def fp16() -> Story:
    """Weights, input and arithmetic in float16."""
    layers, (x, y) = trained([32, 32], "Relu", 0.002), digits()
    layers[0][0][[6, 16, 26]], layers[0][1][[6, 16, 26]] = layers[0][0][[6, 16, 26]] * 0.0625, -4.0
    half = [(w.astype(np.float16), b.astype(np.float16)) for w, b in with_read_out(layers, "Relu")]
    exact = [(w.astype(np.float64), b.astype(np.float64)) for w, b in half]
    seen = dense(exact, "Relu", x.astype(np.float64))
    sites = dense_sites(seen, ["/fc1/Relu", "/fc2/Relu"], "Relu", [{"dead": [6, 16, 26]}, {}])
    proto = model(mlp_text("fp16", 2).replace("float[", "float16["), layer_weights(half))
    story = Story(
        "fp16", "float16 throughout; 3 dead", proto, {"x": x.astype(np.float16), "y": y}, sites, seen[-1][0]
    )
    story.sites = [float16_site(site) for site in sites]
    story.facts["relative_tolerance"] = 5e-3
    return story


STORIES: tuple[Callable[[], Story], ...] = (qdq_int8, fp16)
