"""Attention written out: products of queries and keys, a mask, a softmax, what the values weigh, a projection."""

from __future__ import annotations

import numpy as np

from nla.architectures.builder import BOOL, FLOAT, Graph
from nla.architectures.normalising import normalise
from nla.architectures.spec import Attention, Norm, Rope

_FORBIDDEN = float(np.finfo(np.float32).min)
"""Added to the score of a pair that must not see one another; finite, so that a row of them makes no NaN."""


def attend(g: Graph, a: Attention, x: str, prefix: str, hidden: int) -> str:
    """The output of attention [batch, sequence, hidden]; heads side by side are named `attn.heads` before it."""
    query, key, value = _split(g, a, x, prefix, hidden)
    query = _turned(g, _normalised(g, query, a.query_norm, prefix), a.rope, a.size)
    key = _spread(g, a, _turned(g, _normalised(g, key, a.key_norm, prefix), a.rope, a.size))
    value = _spread(g, a, _turned(g, value, None, a.size))
    scores = g.MatMul(query, g.Transpose(key, perm=[0, 1, 3, 2]), name=f"{prefix}attn.scores")
    scores = g.Mul(scores, a.scale) if a.scale != 1.0 else scores
    mask = _mask(g, a)
    scores = scores if mask is None else g.Add(scores, mask)
    weighed = g.MatMul(g.Softmax(scores, axis=-1, name=f"{prefix}attn.weights"), value)
    width = a.heads * a.size
    side_by_side = g.Reshape(
        g.Transpose(weighed, perm=[0, 2, 1, 3]), [0, 0, width], name=f"{prefix}attn.heads"
    )
    return g.linear(
        side_by_side,
        prefix + a.out,
        width,
        hidden,
        bias=a.out_bias,
        turned=a.turned,
        name=f"{prefix}attn.out",
    )


def _split(g: Graph, a: Attention, x: str, prefix: str, hidden: int) -> tuple[str, str, str]:
    """Queries, keys and values: [batch, sequence, heads, size]."""
    if not a.fused:
        parts = []
        for name, heads in ((a.query, a.heads), (a.key, a.groups), (a.value, a.groups)):
            made = g.linear(x, prefix + name, hidden, heads * a.size, bias=a.bias, turned=a.turned)
            parts.append(str(g.Reshape(made, [0, 0, heads, a.size])))
        return parts[0], parts[1], parts[2]
    width = a.heads * a.size
    made = g.linear(x, prefix + a.fused, hidden, 3 * width, bias=a.bias, turned=a.turned)
    if a.by_head:
        made = g.Reshape(made, [0, 0, a.heads, 3 * a.size])
        one, two, three = g.Split(made, [a.size] * 3, axis=-1, outputs=3)
        return one, two, three
    one, two, three = (
        str(g.Reshape(part, [0, 0, a.heads, a.size]))
        for part in g.Split(made, [width] * 3, axis=-1, outputs=3)
    )
    return one, two, three


def _normalised(g: Graph, x: str, norm: Norm | None, prefix: str) -> str:
    return x if norm is None else normalise(g, x, norm, prefix)


def _turned(g: Graph, x: str, rope: Rope | None, size: int) -> str:
    """[batch, heads, sequence, size] of [batch, sequence, heads, size], with rotary positions."""
    x = str(g.Transpose(x, perm=[0, 2, 1, 3]))
    return x if rope is None else _rotate(g, x, rope, size)


def _rotate(g: Graph, x: str, rope: Rope, size: int) -> str:
    """Pairs of channels (k, k + n) of the first 2n turned by position · frequency k; the others left alone."""
    half = len(rope.frequencies)
    rest = [size - 2 * half] if size > 2 * half else []
    first, second, *others = g.Split(x, [half, half, *rest], axis=-1, outputs=2 + len(rest))
    straight = g.Mul(g.Concat(first, second, axis=-1), _wave(g, rope, "Cos"))
    across = g.Mul(g.Concat(g.Neg(second), first, axis=-1), _wave(g, rope, "Sin"))
    turned = g.Add(straight, across)
    return str(g.Concat(turned, *others, axis=-1) if others else turned)


def _wave(g: Graph, rope: Rope, kind: str) -> str:
    """Cosine or sine of every position's angles, [sequence, 2n], made once for all blocks."""
    frequencies = np.tile(np.asarray(rope.frequencies, np.float32), 2)[None]

    def angles() -> str:
        return str(g.Mul(g.Unsqueeze(g.Cast(positions(g), to=FLOAT), [1]), frequencies, name="rope.angles"))

    def wave() -> str:
        made = str(
            g.op(kind, g.once(("angles", frequencies.tobytes().hex()), angles), name=f"rope.{kind.lower()}")
        )
        return made if rope.factor == 1.0 else str(g.Mul(made, rope.factor))

    return g.once((kind, str(rope.factor), frequencies.tobytes().hex()), wave)


def positions(g: Graph) -> str:
    """int64 [sequence]: 0, 1, 2, … made once."""

    def make() -> str:
        length = g.Squeeze(g.Shape("input_ids", start=1, end=2), [0])
        return str(g.Range(0, length, 1, name="positions"))

    return g.once(("positions",), make)


def _spread(g: Graph, a: Attention, x: str) -> str:
    """A head of keys or values for every head of queries: [batch, heads, sequence, size]."""
    if a.groups == a.heads:
        return x
    each = a.heads // a.groups
    return str(g.Gather(x, np.repeat(np.arange(a.groups, dtype=np.int64), each), axis=1))


def _mask(g: Graph, a: Attention) -> str | None:
    """What is added to the scores: float32 [batch, 1, sequence or 1, sequence]; made once for all blocks."""
    if not a.masked:
        return None
    return g.once(("mask", str(a.causal), str(a.window)), lambda: _make_mask(g, a))


def _make_mask(g: Graph, a: Attention) -> str:
    allowed = g.Unsqueeze(g.Cast("attention_mask", to=BOOL), [1, 2])
    if a.causal:
        reader, read = g.Unsqueeze(positions(g), [1]), g.Unsqueeze(positions(g), [0])
        allowed = g.And(allowed, g.LessOrEqual(read, reader))
        if a.window is not None:
            allowed = g.And(allowed, g.Greater(read, g.Sub(reader, a.window)))
    return str(g.Where(allowed, 0.0, _FORBIDDEN, name=f"mask{'' if a.window is None else f'.{a.window}'}"))
