"""A transformer as a graph, from its spec: inputs, embeddings, blocks, final norm; cuts between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nla.architectures.attention import attend, positions
from nla.architectures.builder import FLOAT, INT64, Graph
from nla.architectures.functions import activate
from nla.architectures.normalising import normalise
from nla.architectures.spec import Block, Image, Mlp, Order, Positions, Spec, Text
from nla.errors import ModelError, printable

BATCH, SEQUENCE = "batch", "sequence"

_WRAPPERS = re.compile(r"[\w.-]{1,200}", re.ASCII)
"""What programs put before the names of a model that they wrap: `module.`, `0.auto_model.`"""


@dataclass(frozen=True)
class Trunk:
    """Where a transformer lies in the checkpoint, and what it computed."""

    root: str
    """What comes before the names of heads."""
    prefix: str
    """What comes before the names of the trunk's own modules."""
    hidden: str
    """The last hidden state, [batch, sequence, hidden]."""


def build(g: Graph, spec: Spec) -> Trunk:
    """Add the whole trunk to the graph."""
    root, prefix = locate(g, spec)
    embed = _embed_image if isinstance(spec.inputs, Image) else _embed
    x = g.cut(str(g.Identity(embed(g, spec, prefix), name="hidden_state.0")))
    stack = f"{prefix}{spec.stack}."
    _check_blocks(g, stack, len(spec.blocks))
    for at, block in enumerate(spec.blocks):
        x = g.cut(_block(g, block, x, f"{stack}{at}.", spec.hidden, f"hidden_state.{at + 1}"))
    if spec.final is not None:
        x = normalise(g, x, spec.final, prefix)
    if spec.project and isinstance(spec.inputs, Text):
        x = g.linear(x, prefix + spec.project, spec.hidden, spec.inputs.width, bias=False)
    return Trunk(root, prefix, x)


def locate(g: Graph, spec: Spec) -> tuple[str, str]:
    """What comes before the names of heads, and before the trunk's, as the checkpoint has them.

    A tensor that every trunk has is looked for, at the spec's prefixes and then behind any other.
    """
    probe = spec.inputs.projection if isinstance(spec.inputs, Image) else spec.inputs.tokens
    probe += ".weight"
    for prefix in spec.prefixes:
        if g.has(prefix + probe):
            return "", prefix
    behind = (name.removesuffix(probe) for name in g.names if name.endswith(f".{probe}"))
    outer = min((prefix for prefix in behind if _WRAPPERS.fullmatch(prefix)), key=len, default="")
    for prefix in sorted(spec.prefixes, key=len, reverse=True):
        if outer and f".{outer}".endswith(f".{prefix}"):
            return outer.removesuffix(prefix), outer
    return "", spec.prefixes[0]


def _check_blocks(g: Graph, stack: str, count: int) -> None:
    """Before a graph is built for them: every block of config.json has tensors in the checkpoint."""
    there = {name.removeprefix(stack).partition(".")[0] for name in g.names if name.startswith(stack)}
    lacking = next((at for at in range(count) if str(at) not in there), None)
    if lacking is not None:
        raise ModelError(
            f"config.json says {count:,} blocks, and the checkpoint has no tensor of '{printable(stack)}{lacking}': is "
            "a shard missing, or is it another model's config?"
        )


# --- embeddings


def _embed(g: Graph, spec: Spec, prefix: str) -> str:
    text = spec.inputs
    assert isinstance(text, Text)
    ids = g.input("input_ids", INT64, (BATCH, SEQUENCE))
    g.input("attention_mask", INT64, (BATCH, SEQUENCE))
    x = g.rows(f"{prefix}{text.tokens}.weight", ids, text.vocabulary, text.width)
    if text.scale != 1.0:
        x = g.Mul(x, text.scale)
    if text.project:
        x = g.linear(x, prefix + text.project, text.width, spec.hidden, bias=False)
    if text.types:
        kinds = g.input("token_type_ids", INT64, (BATCH, SEQUENCE))
        x = g.Add(x, g.rows(f"{prefix}{text.types}.weight", kinds, text.kinds, spec.hidden))
    if text.table:
        x = g.Add(x, g.rows(f"{prefix}{text.table}.weight", _positions(g, text), text.rows, spec.hidden))
    return x if text.norm is None else normalise(g, x, text.norm, prefix)


def _positions(g: Graph, text: Text) -> str:
    """The row of the table of positions for each token: [sequence], or [batch, sequence]."""
    if text.positions is Positions.COUNTED:
        return str(g.Add(positions(g), text.offset)) if text.offset else positions(g)
    if text.positions is Positions.MASKED:
        mask, first = "attention_mask", text.offset - 1
    else:
        first = text.offset
        mask = str(g.Cast(g.Not(g.Equal("input_ids", text.offset)), to=INT64))
    return str(g.Add(g.Mul(g.CumSum(mask, 1), mask), first))


def _embed_image(g: Graph, spec: Spec, prefix: str) -> str:
    image = spec.inputs
    assert isinstance(image, Image)
    pixels = g.input("pixel_values", FLOAT, (BATCH, image.channels, image.height, image.width))
    name, hidden, patch = prefix + image.projection, spec.hidden, image.patch
    kernel = g.weight(f"{name}.weight", hidden, image.channels, *patch)
    made = g.Conv(
        pixels, kernel, g.weight(f"{name}.bias", hidden), strides=list(patch), kernel_shape=list(patch)
    )
    tokens = g.Transpose(g.Reshape(made, [0, hidden, image.tokens - 1]), perm=[0, 2, 1])
    samples = g.Concat(g.Shape(pixels, start=0, end=1), [1, hidden], axis=0)
    first = g.Expand(g.weight(prefix + image.class_token, 1, 1, hidden), samples)
    table = g.weight(prefix + image.table, 1, image.tokens, hidden)
    return str(g.Add(g.Concat(first, tokens, axis=1), table))


# --- blocks


def _block(g: Graph, block: Block, x: str, prefix: str, hidden: int, name: str) -> str:
    attention, mlp, norms = block.attention, block.mlp, (block.attention_norm, block.mlp_norm)
    if block.order is Order.POST:
        x = str(g.Add(x, attend(g, attention, x, prefix, hidden), name=f"{prefix}attn.sum"))
        x = normalise(g, x, norms[0], prefix)
        assert norms[1] is not None
        x = str(g.Add(x, _mlp(g, mlp, x, prefix, hidden), name=f"{prefix}mlp.sum"))
        return normalise(g, x, norms[1], prefix, name)
    read = normalise(g, x, norms[0], prefix)
    attended = attend(g, attention, read, prefix, hidden)
    if block.order is Order.PARALLEL:
        read = read if norms[1] is None else normalise(g, x, norms[1], prefix)
        both = g.Add(_mlp(g, mlp, read, prefix, hidden), attended, name=f"{prefix}attn.sum")
        return str(g.Add(both, x, name=name))
    x = str(g.Add(x, attended, name=f"{prefix}attn.sum"))
    assert norms[1] is not None
    return str(g.Add(x, _mlp(g, mlp, normalise(g, x, norms[1], prefix), prefix, hidden), name=name))


def _mlp(g: Graph, mlp: Mlp, x: str, prefix: str, hidden: int) -> str:
    def layer(name: str, inputs: int, outputs: int) -> str:
        return g.linear(x, prefix + name, inputs, outputs, bias=mlp.bias, turned=mlp.turned)

    if mlp.gate:
        gate = activate(g, layer(mlp.gate, hidden, mlp.size), mlp.activation, f"{prefix}mlp.gate")
        x = str(g.Mul(gate, layer(mlp.up, hidden, mlp.size), name=f"{prefix}mlp.act"))
    else:
        x = activate(g, layer(mlp.up, hidden, mlp.size), mlp.activation, f"{prefix}mlp.act")
    return layer(mlp.down, mlp.size, hidden)
