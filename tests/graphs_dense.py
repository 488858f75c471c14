"""Built graphs of dense layers: networks, all activations, decompositions, flattened tokens."""

from __future__ import annotations

import numpy as np
from builders import Array, Built, Expected, classes, clusters, model, normal, plant, settled

SAMPLES, IN = 60, 10

# ONNX text from "z" to "a", the opset it needs, φ(0), and the activation's name; constants are `CONSTANTS`.
ACTIVATIONS: dict[str, tuple[str, int, float, str]] = {
    "relu": ("a = Relu (z)", 17, 0, "Relu"),
    "leaky_relu": ("a = LeakyRelu <alpha = 0.1> (z)", 17, 0, "LeakyRelu"),
    "prelu": ("a = PRelu (z, slope)", 17, 0, "PRelu"),
    "elu": ("a = Elu (z)", 17, 0, "Elu"),
    "selu": ("a = Selu (z)", 17, 0, "Selu"),
    "celu": ("a = Celu (z)", 17, 0, "Celu"),
    "relu6": ("a = Clip (z, nil, six)", 17, 0, "Clip"),
    "sigmoid": ("a = Sigmoid (z)", 17, 0.5, "Sigmoid"),
    "tanh": ("a = Tanh (z)", 17, 0, "Tanh"),
    "hard_sigmoid": ("a = HardSigmoid (z)", 17, 0.5, "HardSigmoid"),
    "hard_swish": ("a = HardSwish (z)", 17, 0, "HardSwish"),
    "softplus": ("a = Softplus (z)", 17, float(np.log(2)), "Softplus"),
    "softsign": ("a = Softsign (z)", 17, 0, "Softsign"),
    "mish": ("a = Mish (z)", 18, 0, "Mish"),
    "gelu": ("a = Gelu (z)", 20, 0, "Gelu"),
    "gelu_erf": (
        "d = Div (z, root2)  e = Erf (d)  p = Add (e, one)  m = Mul (z, p)  a = Mul (m, half)",
        17,
        0,
        "Gelu",
    ),
    "gelu_tanh": (
        "c = Pow (z, three)  k = Mul (c, cubic)  s = Add (z, k)  g = Mul (s, root2pi)  t = Tanh (g)"
        "  p = Add (t, one)  h = Mul (z, half)  a = Mul (h, p)",
        17,
        7e-7,  # 1 + tanh rounds across zero where z is about -5; z itself is kept away from zero
        "Gelu",
    ),
    "silu": ("s = Sigmoid (z)  a = Mul (z, s)", 17, 0, "Swish"),
    "hard_swish_parts": (
        "s = Add (z, three)  c = Clip (s, nil, six)  m = Mul (z, c)  a = Div (m, six)",
        17,
        0,
        "HardSwish",
    ),
}
CONSTANTS: dict[str, float] = {
    "nil": 0.0,
    "half": 0.5,
    "one": 1.0,
    "three": 3.0,
    "six": 6.0,
    "root2": 2**0.5,
    "cubic": 0.044715,
    "root2pi": (2 / np.pi) ** 0.5,
    "slope": 0.25,
}


def constants(text: str) -> dict[str, Array]:
    """The constants that the text names."""
    return {
        k: np.float32(v) * np.ones((), np.float32)
        for k, v in CONSTANTS.items()
        if f" {k}" in text or f"({k}" in text
    }


def activation(name: str, seed: int = 0) -> Built:
    """One dense layer of 9 neurons with the named activation, and a read-out."""
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    text, opset, at_zero, phi = ACTIVATIONS[name]
    w, b, out = normal(rng, 9, IN), normal(rng, 9, scale=0.3), normal(rng, 3, 9)
    graph = f"""act (float[n, {IN}] x) => (float[n, 3] y) {{
      z = Gemm <transB = 1> (x, w, b)
      {text}
      y = Gemm <transB = 1> (a, out, out_b)
    }}"""
    weights = {"w": w, "b": b, "out": out, "out_b": normal(rng, 3)} | constants(text)
    site = Expected(
        "a",
        "dense",
        phi,
        9,
        -1,
        pre="z",
        z_at_zero=at_zero,
        out_norm=np.linalg.norm(out.astype(float), axis=0),
    )
    feeds = {"x": clusters(rng, labels, IN) * np.float32(2)}
    return settled(Built(f"activation_{name}", model(graph, weights, opset=opset), feeds, (site,), labels))


def mlp(widths: tuple[int, ...] = (12, 8, 6), style: str = "gemm", seed: int = 1) -> Built:
    """Hidden ReLU layers, the first with a dead and a constant neuron planted.

    `style`: gemm (transB), gemm_plain, matmul_add, add_matmul (the bias first), matmul (no bias), identity
    (weights behind Identity), constant (in Constant nodes), inputs (initializers that are inputs too).
    """
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    weights: dict[str, Array] = {}
    lines: list[str] = []
    sites: list[Expected] = []
    last, into = "x", IN
    for k, width in enumerate((*widths, 3), 1):
        w, b = normal(rng, width, into), normal(rng, width, scale=0.3)
        final = k > len(widths)
        planted = plant(w, b, rng) if k == 1 and style != "matmul" else {}
        lines += layer(style, k, last)
        weights |= {f"w{k}": w if style == "gemm" else w.T, f"b{k}": b}
        if sites:
            object.__setattr__(sites[-1], "out_norm", np.linalg.norm(w.astype(np.float64), axis=0))
        if not final:
            lines.append(f"a{k} = Relu (z{k})")
            sites.append(Expected(f"a{k}", "dense", "Relu", width, -1, pre=f"z{k}", planted=planted))
        last, into = f"a{k}", width
    if style == "matmul":
        weights = {k: v for k, v in weights.items() if k.startswith("w")}
    body = "\n      ".join([*lines, f"y = Identity (z{len(widths) + 1})"])
    feeds = {"x": clusters(rng, labels, IN)}
    proto = model(f"mlp (float[n, {IN}] x) => (float[n, 3] y) {{\n      {body}\n    }}", weights)
    move_weights(proto, style)
    return settled(Built(f"mlp_{style}", proto, feeds, tuple(sites), labels))


def layer(style: str, k: int, last: str) -> list[str]:
    """ONNX text of one dense layer."""
    if style in ("gemm", "gemm_plain", "constant", "inputs"):
        return [f"z{k} = Gemm <transB = {int(style == 'gemm')}> ({last}, w{k}, b{k})"]
    if style == "identity":
        return [f"v{k} = Identity (w{k})", f"z{k} = Gemm ({last}, v{k}, b{k})"]
    if style == "matmul":
        return [f"z{k} = MatMul ({last}, w{k})"]
    both = f"p{k}, b{k}" if style == "matmul_add" else f"b{k}, p{k}"
    return [f"p{k} = MatMul ({last}, w{k})", f"z{k} = Add ({both})"]


def move_weights(proto, style: str) -> None:  # type: ignore[no-untyped-def]
    """Weights into Constant nodes, or listed among the inputs as old exporters do."""
    from onnx import helper

    if style == "constant":
        nodes = [helper.make_node("Constant", [], [w.name], value=w) for w in proto.graph.initializer]
        rest = list(proto.graph.node)
        del proto.graph.node[:], proto.graph.initializer[:]
        proto.graph.node.extend([*nodes, *rest])
    if style == "inputs":
        for w in proto.graph.initializer:
            proto.graph.input.append(helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)))


def transposed_weights(seed: int = 2) -> Built:
    """MatMul with the weight on the left: features lie in axis -2, tokens in the last."""
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    w, b = normal(rng, 7, IN), normal(rng, 7, 1, scale=0.3)
    w[1], b[1] = w[1] * 0.01, -5
    graph = f"""left (float[n, {IN}, 4] x) => (float[n, 7] y) {{
      p = MatMul (w, x)
      z = Add (p, b)
      a = Relu (z)
      y = ReduceMean <axes = [2], keepdims = 0> (a)
    }}"""
    site = Expected("a", "dense", "Relu", 7, 1, pre="z", planted={"dead": (1,)})
    feeds = {"x": clusters(rng, labels, IN, 4)}
    return settled(Built("left_matmul", model(graph, {"w": w, "b": b}), feeds, (site,), labels))


def tokens(flattened: bool, seed: int = 3) -> Built:
    """An MLP over padded tokens; `flattened` puts samples and tokens into one axis before the activation."""
    rng = np.random.default_rng(seed)
    labels, width = classes(rng, 40), 8
    x, mask = clusters(rng, labels, 6, IN), rng.integers(2, 7, 40)[:, None] > np.arange(6)
    x[~mask] = 4.0  # padding wakes a neuron that no token wakes
    w, b, out = normal(rng, width, IN), normal(rng, width, scale=0.3), normal(rng, IN, width)
    planted = plant(w, b, rng)
    w[4], b[4] = 0.01 * w[4] + 1, -35.0  # 10 features of 4 sum to 40; tokens stay below 35
    planted["dead"] = (1, 4)
    head = "h = Reshape (x, flat)" if flattened else "h = Identity (x)"
    tail = "y = Reshape (o, back)" if flattened else "y = Identity (o)"
    graph = f"""tok (float[n, 6, {IN}] x, float[n, 6] attention_mask)
    => (float[n, 6, {IN}] y, float[n, 6] unused) {{
      {head}
      m = MatMul (h, w)
      z = Add (m, b)
      a = Relu (z)
      o = MatMul (a, out)
      {tail}
      unused = Identity (attention_mask)
    }}"""
    shapes = {"flat": np.array([-1, IN]), "back": np.array([-1, 6, IN])} if flattened else {}
    weights = {"w": w.T, "b": b, "out": out.T} | shapes
    site = Expected("a", "dense", "Relu", width, -1, pre="z", planted=planted)
    feeds = {"x": x, "attention_mask": mask.astype(np.float32)}
    name = "tokens_flattened" if flattened else "tokens"
    return settled(Built(name, model(graph, weights), feeds, (site,), labels, mask))
