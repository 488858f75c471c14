"""GPT-NeoX and Pythia: attention and MLP side by side or in turn, rotary positions on a part of each head."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.rope import rope
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Spec, Text


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    hidden = config.count("hidden_size", default=6144)
    heads = reading.heads(config, default=64)
    size = reading.divided(hidden, heads)
    epsilon = config.real("layer_norm_eps", default=1e-5)
    bias = config.flag("attention_bias", default=True)
    attention = Attention(
        heads,
        heads,
        size,
        size**-0.5,
        out="attention.dense",
        fused="attention.query_key_value",
        by_head=True,
        bias=bias,
        out_bias=bias,
        rope=rope(config, size, share=0.25),
    )
    mlp = Mlp(
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        size=config.count("intermediate_size", default=24_576),
        activation=reading.activation(config, "hidden_act", default="gelu"),
    )
    block = Block(
        attention,
        mlp,
        Order.PARALLEL if config.flag("use_parallel_residual", default=True) else Order.PRE,
        Norm("input_layernorm", hidden, epsilon),
        Norm("post_attention_layernorm", hidden, epsilon),
    )
    return Spec(
        ("gpt_neox.", ""),
        hidden,
        Text("embed_in", hidden, config.count("vocab_size", default=50_432)),
        (block,) * reading.layers(config, default=44),
        "layers",
        Norm("final_layer_norm", hidden, epsilon),
        head=reading.tied(config, "embed_out", default=False),
    )
