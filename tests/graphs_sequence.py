"""Built graphs of sequences: gated products, attention heads, LSTM, GRU and RNN."""

from __future__ import annotations

import numpy as np
from builders import Array, Built, Expected, classes, clusters, model, normal, settled

SAMPLES, STEPS, WIDTH = 30, 5, 8
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def padding(rng: np.random.Generator) -> np.ndarray:
    """bool [samples, steps], True on tokens; at least two of them."""
    return rng.integers(2, STEPS + 1, SAMPLES)[:, None] > np.arange(STEPS)


def gated(phi: str = "Swish", seed: int = 20) -> Built:
    """φ(x·G)·(x·U)·D over padded tokens, with dead products: a shut gate, and an `up` without weights."""
    rng = np.random.default_rng(seed)
    labels, mask = classes(rng, SAMPLES), padding(rng)
    x = clusters(rng, labels, STEPS, WIDTH)
    weights = {"g": normal(rng, 12, WIDTH).T, "u": normal(rng, 12, WIDTH).T, "d": normal(rng, WIDTH, 12).T}
    weights["gb"] = normal(rng, 12, scale=0.2)
    weights["g"][:, 3], weights["gb"][3] = 0, -40
    weights["u"][:, 7] = 0
    lines = {
        "Swish": "s = Sigmoid (gate)\n      act = Mul (gate, s)",
        "Relu": "act = Relu (gate)",
        "Gelu": "act = Gelu (gate)",
        "Sigmoid": "act = Sigmoid (gate)",
    }[phi]
    graph = f"""glu (float[n, {STEPS}, {WIDTH}] x, float[n, {STEPS}] attention_mask)
    => (float[n, {STEPS}, {WIDTH}] y, float[n, {STEPS}] unused) {{
      gp = MatMul (x, g)
      gate = Add (gp, gb)
      {lines}
      up = MatMul (x, u)
      a = Mul (act, up)
      y = MatMul (a, d)
      unused = Identity (attention_mask)
    }}"""
    name = {"Swish": "SwiGLU", "Relu": "ReGLU", "Gelu": "GeGLU", "Sigmoid": "GLU"}[phi]
    site = Expected("a", "mlp_post", name, 12, -1, pre="a", planted={"dead": (3, 7)})
    feeds = {"x": x, "attention_mask": mask.astype(np.float32)}
    proto = model(graph, weights, opset=20 if phi == "Gelu" else 17)
    return settled(Built(f"gated_{phi.lower()}", proto, feeds, (site,), labels, mask))


def attention(seed: int = 21) -> Built:
    """Two-head attention with padding masked; the second head's values are zero, so it is dead."""
    rng = np.random.default_rng(seed)
    labels, mask = classes(rng, SAMPLES), padding(rng)
    weights: dict[str, Array] = {part: normal(rng, WIDTH, WIDTH) for part in ("wq", "wk", "wv", "wo")}
    weights["wv"][:, 4:] = 0
    weights |= {"split": np.array([0, 0, 2, 4]), "join": np.array([0, 0, 8]), "mid": np.array([1, 2])}
    weights |= {k: np.full((), v, np.float32) for k, v in {"root": 2.0, "one": 1.0, "low": -1e4}.items()}
    heads = "\n      ".join(
        f"{p} = MatMul (x, w{p})  {p}4 = Reshape ({p}, split)  {p}h = Transpose <perm = {perm}> ({p}4)"
        for p, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
    )
    graph = f"""attn (float[n, {STEPS}, {WIDTH}] x, float[n, {STEPS}] attention_mask)
    => (float[n, {STEPS}, {WIDTH}] out) {{
      {heads}
      qk = MatMul (qh, kh)
      scaled = Div (qk, root)
      inverse = Sub (one, attention_mask)
      lows = Mul (inverse, low)
      bias = Unsqueeze (lows, mid)
      scores = Add (scaled, bias)
      p = Softmax <axis = -1> (scores)
      c = MatMul (p, vh)
      ct = Transpose <perm = [0, 2, 1, 3]> (c)
      heads = Reshape (ct, join)
      o = MatMul (heads, wo)
      out = Add (x, o)
    }}"""
    sites = (
        Expected("heads", "head", "Identity", 2, -1, unit_size=4, planted={"dead": (1,)}),
        Expected("o", "attn_out", "Identity", WIDTH, -1, pre="o"),
    )
    feeds = {"x": clusters(rng, labels, STEPS, WIDTH), "attention_mask": mask.astype(np.float32)}
    return settled(Built("attention", model(graph, weights), feeds, sites, labels, mask))


def recurrent(kind: str = "LSTM", directions: int = 1, seed: int = 22) -> Built:
    """Hidden units of LSTM, GRU or RNN over [samples, steps]; time comes first inside the graph."""
    rng, hidden = np.random.default_rng(seed), 6
    labels = classes(rng, SAMPLES)
    rows = GATES[kind] * hidden
    w, r = normal(rng, directions, rows, WIDTH, scale=0.5), normal(rng, directions, rows, hidden, scale=0.4)
    b = normal(rng, directions, 2 * rows, scale=0.3)
    planted: dict[str, tuple[int, ...]] = {}
    if kind != "RNN":  # the candidate of unit 2 is tanh(0): the state never leaves zero
        last = rows - hidden + 2
        w[0, last], r[0, last], b[0, [last, rows + last]] = 0, 0, 0
        planted = {"dead": (2,)}
    attributes = f'hidden_size = {hidden}, direction = "{"forward" if directions == 1 else "bidirectional"}"'
    graph = f"""rec (float[n, {STEPS}, {WIDTH}] x) => (float[n, 3] y) {{
      t = Transpose <perm = [1, 0, 2]> (x)
      h = {kind} <{attributes}> (t, w, r, b)
      s = Transpose <perm = [2, 0, 1, 3]> (h)
      f = Reshape (s, rows)
      y = MatMul (f, out)
    }}"""
    features = STEPS * directions * hidden
    weights = {"w": w, "r": r, "b": b, "rows": np.array([0, features]), "out": normal(rng, features, 3)}
    site = Expected(
        "h", "recurrent", kind, hidden * directions, 3, sample_axis=2, directions=directions, planted=planted
    )
    name = f"{kind.lower()}_{directions}"
    return settled(
        Built(name, model(graph, weights), {"x": clusters(rng, labels, STEPS, WIDTH)}, (site,), labels)
    )
