"""BERT, and RoBERTa with its relatives, which number positions behind the padding token."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.spec import Attention, Block, Mlp, Norm, Order, Positions, Spec, Text


def bert(config: Config) -> Spec:
    """The transformer that config.json describes."""
    return _encoder(config, ("bert.", ""), 30_522, Positions.COUNTED, 0)


def roberta(config: Config) -> Spec:
    """The transformer that config.json describes."""
    padding = config.count("pad_token_id", default=1, least=0)
    return _encoder(config, ("roberta.", ""), 50_265, Positions.PADDED, padding)


def camembert(config: Config) -> Spec:
    """CamemBERT and XLM-RoBERTa: RoBERTa with another vocabulary."""
    padding = config.count("pad_token_id", default=1, least=0)
    return _encoder(config, ("roberta.", ""), 30_522, Positions.PADDED, padding)


def _encoder(
    config: Config, prefixes: tuple[str, ...], vocabulary: int, positions: Positions, offset: int
) -> Spec:
    reading.refuse_decoder(config)
    hidden = config.count("hidden_size", default=768)
    heads = reading.heads(config, default=12)
    size = reading.divided(hidden, heads)
    epsilon = config.real("layer_norm_eps", default=1e-12)
    attention = Attention(
        heads,
        heads,
        size,
        size**-0.5,
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        out="attention.output.dense",
        causal=False,
    )
    mlp = Mlp(
        up="intermediate.dense",
        down="output.dense",
        size=config.count("intermediate_size", default=3072),
        activation=reading.activation(config, "hidden_act", default="gelu"),
    )
    block = Block(
        attention,
        mlp,
        Order.POST,
        Norm("attention.output.LayerNorm", hidden, epsilon),
        Norm("output.LayerNorm", hidden, epsilon),
    )
    text = Text(
        "embeddings.word_embeddings",
        hidden,
        config.count("vocab_size", default=vocabulary),
        table="embeddings.position_embeddings",
        rows=config.count("max_position_embeddings", default=512),
        positions=positions,
        offset=offset,
        types="embeddings.token_type_embeddings",
        kinds=config.count("type_vocab_size", default=2),
        norm=Norm("embeddings.LayerNorm", hidden, epsilon),
    )
    return Spec(prefixes, hidden, text, (block,) * reading.layers(config, default=12), "encoder.layer")
