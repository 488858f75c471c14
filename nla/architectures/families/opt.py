"""OPT: norms before or after, learned positions counted over the mask, embeddings that may be narrower."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Positions, Spec, Text

_EPSILON = 1e-5
_OFFSET = 2
"""Rows of the table of positions that no position uses."""


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    hidden = config.count("hidden_size", default=768)
    heads = reading.heads(config, default=12)
    size = reading.divided(hidden, heads)
    bias = config.flag("enable_bias", default=True)
    before = config.flag("do_layer_norm_before", default=True)
    affine = config.flag("layer_norm_elementwise_affine", default=True)
    width = config.count("word_embed_proj_dim", default=hidden)
    attention = Attention(
        heads,
        heads,
        size,
        size**-0.5,
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        out="self_attn.out_proj",
        bias=bias,
        out_bias=bias,
    )
    mlp = Mlp(
        up="fc1",
        down="fc2",
        size=config.count("ffn_dim", default=3072),
        activation=reading.activation(config, "activation_function", default="relu"),
        bias=bias,
    )

    def norm(name: str) -> Norm:
        return Norm(name, hidden, _EPSILON, affine=affine)

    block = Block(
        attention,
        mlp,
        Order.PRE if before else Order.POST,
        norm("self_attn_layer_norm"),
        norm("final_layer_norm"),
    )
    text = Text(
        "embed_tokens",
        width,
        config.count("vocab_size", default=50_272),
        table="embed_positions",
        rows=config.count("max_position_embeddings", default=2048) + _OFFSET,
        positions=Positions.MASKED,
        offset=_OFFSET,
        project="project_in" if width != hidden else "",
    )
    last = before and not config.flag("_remove_final_layer_norm", default=False)
    return Spec(
        ("model.decoder.", "decoder.", ""),
        hidden,
        text,
        (block,) * reading.layers(config, default=12),
        "layers",
        norm("final_layer_norm") if last else None,
        project="project_out" if width != hidden else "",
        head=reading.tied(config, "lm_head", default=True),
    )
