"""Phi 1 and 2: attention and MLP side by side behind one norm, rotary positions on a part of each head."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.rope import rope
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Spec, Text


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    hidden = config.count("hidden_size", default=2048)
    heads = reading.heads(config, default=32)
    size = reading.head_size(config, hidden, heads)
    epsilon = config.real("layer_norm_eps", default=1e-5)
    normed = config.flag("qk_layernorm", default=False)
    attention = Attention(
        heads,
        reading.groups(config, heads),
        size,
        size**-0.5,
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        out="self_attn.dense",
        rope=rope(config, size, share=0.5),
        query_norm=Norm("self_attn.q_layernorm", size, epsilon) if normed else None,
        key_norm=Norm("self_attn.k_layernorm", size, epsilon) if normed else None,
    )
    mlp = Mlp(
        up="mlp.fc1",
        down="mlp.fc2",
        size=config.count("intermediate_size", default=8192),
        activation=reading.activation(config, "hidden_act", default="gelu_new"),
    )
    block = Block(attention, mlp, Order.PARALLEL, Norm("input_layernorm", hidden, epsilon), None)
    return Spec(
        ("model.", ""),
        hidden,
        Text("embed_tokens", hidden, config.count("vocab_size", default=51_200)),
        (block,) * reading.layers(config, default=24),
        "layers",
        Norm("final_layernorm", hidden, epsilon),
        head=reading.tied(config, "lm_head", default=False, bias=True),
    )
