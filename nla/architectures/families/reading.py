"""What families read from config.json in the same way."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.functions import known
from nla.architectures.spec import Head
from nla.errors import ModelError

_MOST_LAYERS = 1 << 12
_MOST_HEADS = 1 << 12
_WIDEST_HEAD = 1 << 14


def layers(config: Config, *keys: str, default: int) -> int:
    """The number of blocks."""
    return config.count(*(keys or ("num_hidden_layers",)), default=default, most=_MOST_LAYERS)


def heads(config: Config, *keys: str, default: int) -> int:
    """The number of heads of queries."""
    return config.count(*(keys or ("num_attention_heads",)), default=default, most=_MOST_HEADS)


def groups(config: Config, heads: int, default: int | None = None) -> int:
    """The number of heads of keys and values, which divides that of queries."""
    found = config.count("num_key_value_heads", default=default or heads, most=_MOST_HEADS)
    if heads % found:
        raise ModelError(
            f"config.json: num_attention_heads {heads} is no multiple of num_key_value_heads {found}"
        )
    return found


def head_size(config: Config, hidden: int, heads: int, default: int | None = None) -> int:
    """Channels of one head: head_dim, or the hidden size over the number of heads."""
    if default is not None or config.has("head_dim"):
        return config.count("head_dim", default=default, most=_WIDEST_HEAD)
    return divided(hidden, heads)


def divided(hidden: int, heads: int) -> int:
    """Channels of one head where the heads share the hidden size."""
    if hidden % heads or hidden // heads > _WIDEST_HEAD:
        raise ModelError(
            f"config.json: a hidden size of {hidden} cannot be shared by {heads} heads of at most {_WIDEST_HEAD} "
            "channels each"
        )
    return hidden // heads


def activation(config: Config, *keys: str, default: str) -> str:
    """The name of the MLP's activation function."""
    return known(config.text(*keys, default=default))


def tied(config: Config, name: str, *, default: bool, bias: bool = False) -> Head:
    """The language model's head."""
    return Head(name, bias=bias, tied=config.flag("tie_word_embeddings", default=default))


def refuse_decoder(config: Config) -> None:
    """Raise ModelError for an encoder that is used as a decoder."""
    config.refuse("is_decoder", why="an encoder used as a decoder is none that nla builds a graph for")
    config.refuse("add_cross_attention", why="cross-attention is none that nla builds a graph for")
    config.refuse(
        "position_embedding_type",
        "absolute",
        why="is a kind of positions that nla does not know: it knows 'absolute'",
    )
