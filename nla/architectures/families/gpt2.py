"""GPT-2: weights stored [inputs, outputs], queries, keys and values from one layer."""

from __future__ import annotations

from dataclasses import replace

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Spec, Text


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    config.refuse("add_cross_attention", why="cross-attention is none that nla builds a graph for")
    hidden = config.count("n_embd", "hidden_size", default=768)
    heads = reading.heads(config, "n_head", "num_attention_heads", default=12)
    count = reading.layers(config, "n_layer", "num_hidden_layers", default=12)
    size = reading.divided(hidden, heads)
    epsilon = config.real("layer_norm_epsilon", default=1e-5)
    scale = size**-0.5 if config.flag("scale_attn_weights", default=True) else 1.0
    attention = Attention(heads, heads, size, scale, out="attn.c_proj", fused="attn.c_attn", turned=False)
    mlp = Mlp(
        up="mlp.c_fc",
        down="mlp.c_proj",
        size=config.count("n_inner", default=4 * hidden),
        activation=reading.activation(config, "activation_function", default="gelu_new"),
        turned=False,
    )
    norms = (Norm("ln_1", hidden, epsilon), Norm("ln_2", hidden, epsilon))
    by_layer = config.flag("scale_attn_by_inverse_layer_idx", default=False)
    blocks = tuple(
        Block(replace(attention, scale=scale / (at + 1) if by_layer else scale), mlp, Order.PRE, *norms)
        for at in range(count)
    )
    text = Text(
        "wte",
        hidden,
        config.count("vocab_size", default=50_257),
        table="wpe",
        rows=config.count("n_positions", "max_position_embeddings", default=1024),
    )
    head = reading.tied(config, "lm_head", default=True)
    return Spec(("transformer.", ""), hidden, text, blocks, "h", Norm("ln_f", hidden, epsilon), head=head)
