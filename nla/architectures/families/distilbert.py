"""DistilBERT: BERT without token types, with names of its own."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Spec, Text

EPSILON = 1e-12


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    reading.refuse_decoder(config)
    hidden = config.count("dim", "hidden_size", default=768)
    heads = reading.heads(config, "n_heads", "num_attention_heads", default=12)
    size = reading.divided(hidden, heads)
    attention = Attention(
        heads,
        heads,
        size,
        size**-0.5,
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        causal=False,
    )
    mlp = Mlp(
        up="ffn.lin1",
        down="ffn.lin2",
        size=config.count("hidden_dim", default=3072),
        activation=reading.activation(config, "activation", default="gelu"),
    )
    norms = (Norm("sa_layer_norm", hidden, EPSILON), Norm("output_layer_norm", hidden, EPSILON))
    text = Text(
        "embeddings.word_embeddings",
        hidden,
        config.count("vocab_size", default=30_522),
        table="embeddings.position_embeddings",
        rows=config.count("max_position_embeddings", default=512),
        norm=Norm("embeddings.LayerNorm", hidden, EPSILON),
    )
    count = reading.layers(config, "n_layers", "num_hidden_layers", default=6)
    block = Block(attention, mlp, Order.POST, *norms)
    return Spec(("distilbert.", ""), hidden, text, (block,) * count, "transformer.layer")
