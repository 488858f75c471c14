"""Stories of sequences: a gated transformer block with padding, and an LSTM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from making.data import LONGEST, PAD, TRAINED_ON, VOCABULARY, counting_sequences, digits
from making.graphs import layer_weights, model
from making.reference import layer_norm, lstm, rms_norm, silu
from making.story import Site, Story
from making.train import float32, read_out, softmax

Floats = NDArray[np.float64]
WIDTH, HEADS, GATED, EPSILON = 16, 2, 32, 1e-5
SHUT = [2, 13]
MARK = 15
"""The feature that is set on padding and zero on every token."""

BLOCK = """gated_block (int64[n, 12] input_ids, int64[n, 12] attention_mask) => (float[n, 3] logits)
<int64[4] split = {0, 0, 2, 8}, int64[3] join = {0, 0, 16}, int64[2] middle = {1, 2}, int64[1] last = {2},
 int64[1] steps = {1}, float one = {1.0}, float two = {2.0}, float low = {-10000.0}, float eps = {1e-5},
 float root = {2.8284271247}> {
  tokens = Gather (embedding, input_ids)
  h0 = Add (tokens, positions)
  normed = LayerNormalization <axis = -1, epsilon = 1e-5> (h0, "ln.weight", "ln.bias")
  q = MatMul (normed, "q.weight")
  k = MatMul (normed, "k.weight")
  v = MatMul (normed, "v.weight")
  q4 = Reshape (q, split)
  k4 = Reshape (k, split)
  v4 = Reshape (v, split)
  qh = Transpose <perm = [0, 2, 1, 3]> (q4)
  kh = Transpose <perm = [0, 2, 3, 1]> (k4)
  vh = Transpose <perm = [0, 2, 1, 3]> (v4)
  products = MatMul (qh, kh)
  scaled = Div (products, root)
  mask_f = Cast <to = 1> (attention_mask)
  mask_inverse = Sub (one, mask_f)
  mask_low = Mul (mask_inverse, low)
  mask_4d = Unsqueeze (mask_low, middle)
  scores = Add (scaled, mask_4d)
  weights = Softmax <axis = -1> (scores)
  heads = MatMul (weights, vh)
  heads_t = Transpose <perm = [0, 2, 1, 3]> (heads)
  "/attn/heads" = Reshape (heads_t, join)
  "/attn/o_proj" = MatMul ("/attn/heads", "o.weight")
  h1 = Add (h0, "/attn/o_proj")
  squared = Pow (h1, two)
  power = ReduceMean <axes = [-1], keepdims = 1> (squared)
  power_eps = Add (power, eps)
  rms = Sqrt (power_eps)
  over = Div (h1, rms)
  normed2 = Mul (over, "rms.weight")
  gate_product = MatMul (normed2, "gate.weight")
  "/mlp/gate" = Add (gate_product, "gate.bias")
  gate_sigmoid = Sigmoid ("/mlp/gate")
  gate_silu = Mul ("/mlp/gate", gate_sigmoid)
  "/mlp/up" = MatMul (normed2, "up.weight")
  "/mlp/Mul" = Mul (gate_silu, "/mlp/up")
  down = MatMul ("/mlp/Mul", "down.weight")
  h2 = Add (h1, down)
  mask_3d = Unsqueeze (mask_f, last)
  counted = Mul (h2, mask_3d)
  total = ReduceSum <keepdims = 0> (counted, steps)
  length = ReduceSum <keepdims = 1> (mask_f, steps)
  pooled = Div (total, length)
  logits = Gemm <transB = 1> (pooled, "fc1.weight", "fc1.bias")
}"""


@dataclass
class Block:
    """Weights of the gated block, [in, out] as MatMul takes them, and its forward pass in float64."""

    weights: dict[str, Floats]

    def attend(self, h0: Floats, mask: NDArray[np.int64]) -> Floats:
        """What the heads give, side by side: [n, steps, WIDTH]."""
        w, (n, steps, _) = self.weights, h0.shape
        normed = layer_norm(h0, w["ln.weight"], w["ln.bias"], EPSILON)
        q, k, v = (
            (normed @ w[f"{part}.weight"]).reshape(n, steps, HEADS, -1).transpose(0, 2, 1, 3)
            for part in "qkv"
        )
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(8) + (1 - mask[:, None, None, :]) * -1e4
        heads = softmax(scores) @ v
        return np.asarray(heads.transpose(0, 2, 1, 3).reshape(n, steps, WIDTH))

    def forward(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, Floats]:
        """Heads, attention output, gated product and the mean over the tokens of what leaves the block."""
        w = self.weights
        h0 = w["embedding"][ids] + w["positions"]
        heads = self.attend(h0, mask)
        attended = heads @ w["o.weight"]
        h1 = h0 + attended
        normed = rms_norm(h1, w["rms.weight"], EPSILON)
        product = silu(normed @ w["gate.weight"] + w["gate.bias"]) * (normed @ w["up.weight"])
        h2 = h1 + product @ w["down.weight"]
        pooled = (h2 * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return {"heads": heads, "attended": attended, "product": product, "pooled": pooled}


def circle(steps: Floats, period: float) -> Floats:
    """[n, 2] the points at `steps` on a circle that closes after `period` steps."""
    angle = 2 * np.pi * steps / period
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def embeddings() -> dict[str, Floats]:
    """Tokens on two circles (features 0 to 3), positions on two others (4 to 7), padding on MARK alone."""
    embedding, positions = np.zeros((VOCABULARY, WIDTH)), np.zeros((LONGEST, WIDTH))
    tokens, at = np.arange(1.0, VOCABULARY), np.arange(float(LONGEST))
    embedding[1:, 0:2], embedding[1:, 2:4] = circle(tokens, 15), circle(2 * tokens, 15)
    positions[:, 4:6], positions[:, 6:8] = circle(at, 24), circle(at, 5)
    embedding[PAD, MARK] = 8
    return {"embedding": embedding, "positions": positions}


def attention_weights(rng: np.random.Generator) -> dict[str, Floats]:
    """Head 0 looks at the token before and copies it to features 8 to 11; head 1 has no values."""
    w = {f"{part}.weight": rng.normal(0, 0.02, (WIDTH, WIDTH)) for part in "qkvo"}
    for first, period in ((4, 24), (6, 5)):
        (c, s), pair = circle(np.ones(1), period)[0], slice(first, first + 2)
        w["q.weight"][pair, pair] += 5 * np.array([[c, -s], [s, c]])  # one step back
        w["k.weight"][pair, pair] += np.eye(2)
    w["v.weight"][:4, :4] += np.eye(4)
    w["o.weight"][:4, 8:12] += np.eye(4)
    w["v.weight"][:, 8:], w["o.weight"][:, MARK] = 0, 0
    return w


def gated_weights(rng: np.random.Generator) -> dict[str, Floats]:
    """Products of this token and the one before, with both signs; shut gates, one that padding opens."""
    w = {f"{part}.weight": rng.normal(0, 0.05, (WIDTH, GATED)) for part in ("gate", "up")}
    unit = np.arange(GATED)
    w["gate.weight"][unit // 2 % 4, unit] += np.where(unit % 2, -1.0, 1.0)
    w["up.weight"][8 + unit // 8, unit] += 1
    for part in ("gate", "up"):
        w[f"{part}.weight"][MARK] = 0
    w["gate.bias"] = rng.normal(0, 0.1, GATED)
    w["gate.weight"][:, SHUT], w["gate.bias"][SHUT] = 0.1 * w["gate.weight"][:, SHUT], -30
    w["up.weight"][:, 7] = 0
    w["gate.weight"][:, 21], w["gate.bias"][21], w["gate.weight"][MARK, 21] = 0, -30, 20
    w["down.weight"] = rng.normal(0, 0.25, (GATED, WIDTH))
    return w


def block_weights(rng: np.random.Generator) -> dict[str, Floats]:
    """All weights of the block, with what is planted in them."""
    w = embeddings() | attention_weights(rng) | gated_weights(rng)
    w |= {"ln.weight": rng.uniform(0.9, 1.1, WIDTH), "ln.bias": rng.normal(0, 0.05, WIDTH)}
    w["rms.weight"] = rng.uniform(0.9, 1.1, WIDTH)
    return {name: float32(values) for name, values in w.items()}


def gated_block() -> Story:
    """Two-head attention and SwiGLU over padded sequences; the read-out is trained."""
    block = Block(block_weights(np.random.default_rng(7)))
    taught, shown = counting_sequences(4000, seed=8), counting_sequences(600, seed=9)
    head = read_out(block.forward(taught["input_ids"], taught["attention_mask"])["pooled"], taught["y"])
    seen = block.forward(shown["input_ids"], shown["attention_mask"])
    mask = shown["attention_mask"].astype(bool)
    norms = np.linalg.norm(seen["heads"].reshape(*mask.shape, HEADS, -1), axis=-1)
    attended, product = seen["attended"], seen["product"]
    dead = [*SHUT, 7, 21]
    sites = [
        Site(
            "/attn/heads", "head", "Identity", 2, norms, norms, mask, {"dead": [1]}, "norm > 0", unit_size=8
        ),
        Site("/attn/o_proj", "attn_out", "Identity", 2, attended, attended, mask, {"dead": [MARK]}),
        Site("/mlp/Mul", "mlp_post", "SwiGLU", 2, product, product, mask, {"dead": dead}, "a > 0"),
    ]
    proto = model(BLOCK, block.weights | layer_weights([head]))
    tells = "a transformer block with padding: a dead head, dead gates, one that only padding opens"
    logits = seen["pooled"] @ head[0].T + head[1]
    return Story("gated_block", tells, proto, shown, sites, logits, trained_on=0)


LSTM = """lstm (float[n, 8, 8] x) => (float[n, 10] logits) <int64 final = {-1}, int64[1] direction = {1}> {
  steps = Transpose <perm = [1, 0, 2]> (x)
  "/lstm/Y" = LSTM <hidden_size = 48> (steps, "lstm.W", "lstm.R", "lstm.B")
  hidden = Squeeze ("/lstm/Y", direction)
  "/lstm/last" = Gather <axis = 0> (hidden, final)
  logits = Gemm <transB = 1> ("/lstm/last", "fc1.weight", "fc1.bias")
}"""


def lstm_story() -> Story:
    """A random LSTM over the rows of the digits, its read-out trained; two units have no candidate."""
    rng, hidden, dead = np.random.default_rng(10), 48, [5, 17]
    w, r = rng.standard_normal((4 * hidden, 8)), rng.standard_normal((4 * hidden, hidden)) / np.sqrt(hidden)
    b = np.concatenate([rng.normal(0, 0.5, 4 * hidden), np.zeros(4 * hidden)])
    candidate = [3 * hidden + unit for unit in dead]
    w[candidate], r[candidate], b[candidate] = 0, 0, 0
    w, r, b = float32(w), float32(r), float32(b)
    x, y = digits()
    h = lstm(x.reshape(-1, 8, 8).astype(np.float64), w, r, b)
    head = read_out(h[:TRAINED_ON, -1], y[:TRAINED_ON])
    kept = slice(TRAINED_ON - 400, TRAINED_ON + 200)
    site = Site(
        "/lstm/Y", "recurrent", "LSTM", 3, h[kept], h[kept], None, {"dead": dead}, "h > 0", sample_axis=2
    )
    weights = {"lstm.W": w[None], "lstm.R": r[None], "lstm.B": b[None]} | layer_weights([head])
    logits = h[kept, -1] @ head[0].T + head[1]
    data: dict[str, NDArray[Any]] = {"x": x[kept].reshape(-1, 8, 8), "y": y[kept]}
    tells = "an LSTM over the rows of the digits; 2 hidden units whose candidate is always zero"
    return Story("lstm", tells, model(LSTM, weights), data, [site], logits, trained_on=400)


lstm_story.__name__ = "lstm"
STORIES: tuple[Callable[[], Story], ...] = (gated_block, lstm_story)
