"""LLaMA 1 to 3, and what its relatives share with it: RMSNorm, rotary positions, grouped queries, a gated MLP."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.rope import rope
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Spec, Text


@dataclass(frozen=True)
class Defaults:
    """What holds where config.json says nothing, and what it cannot say."""

    vocabulary: int = 32_000
    hidden: int = 4096
    inner: int = 11_008
    layers: int = 32
    heads: int = 32
    groups: int | None = None
    head_size: int | None = None
    """None: the hidden size over the number of heads."""
    activation: str = "silu"
    tied: bool = False
    attention_bias: bool | None = False
    """None: config.json has no say, and queries, keys and values have biases where the output has none."""
    norm_shift: float = 0.0
    embedding_scale: bool = False
    """Whether token embeddings are multiplied with the root of the hidden size."""
    head_norms: bool = False
    """Whether the queries and the keys of each head are normalised."""


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    config.refuse("pretraining_tp", 1, why="layers computed in slices are none that nla builds a graph for")
    return decoder(config, Defaults())


def decoder(config: Config, d: Defaults, windows: tuple[int | None, ...] | None = None) -> Spec:
    """A decoder like LLaMA's; `windows` are those of the blocks."""
    hidden = config.count("hidden_size", default=d.hidden)
    heads = reading.heads(config, default=d.heads)
    count = reading.layers(config, default=d.layers)
    size = reading.head_size(config, hidden, heads, d.head_size)
    epsilon = config.real("rms_norm_eps", default=1e-6)

    def norm(name: str, width: int = hidden) -> Norm:
        return Norm(name, width, epsilon, rms=True, shift=d.norm_shift)

    bias = d.attention_bias is None or config.flag("attention_bias", default=d.attention_bias)
    attention = Attention(
        heads=heads,
        groups=reading.groups(config, heads, d.groups),
        size=size,
        scale=size**-0.5,
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        out="self_attn.o_proj",
        bias=bias,
        out_bias=bias and d.attention_bias is not None,
        rope=rope(config, size),
        query_norm=norm("self_attn.q_norm", size) if d.head_norms else None,
        key_norm=norm("self_attn.k_norm", size) if d.head_norms else None,
    )
    mlp = Mlp(
        gate="mlp.gate_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
        size=config.count("intermediate_size", default=d.inner),
        activation=reading.activation(config, "hidden_act", default=d.activation),
        bias=config.flag("mlp_bias", default=False),
    )
    norms = (norm("input_layernorm"), norm("post_attention_layernorm"))
    text = Text(
        "embed_tokens",
        hidden,
        config.count("vocab_size", default=d.vocabulary),
        scale=hidden**0.5 if d.embedding_scale else 1.0,
    )
    blocks = tuple(
        Block(attention if window is None else replace(attention, window=window), mlp, Order.PRE, *norms)
        for window in windows or (None,) * count
    )
    head = reading.tied(config, "lm_head", default=d.tied)
    return Spec(("model.", ""), hidden, text, blocks, "layers", norm("norm"), head=head)
