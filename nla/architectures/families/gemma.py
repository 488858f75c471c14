"""Gemma (the first): LLaMA with norms that multiply by 1 + weight, scaled embeddings, and a gated GELU."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import llama
from nla.architectures.spec import Spec

_DEFAULTS = llama.Defaults(
    vocabulary=256_000,
    hidden=3072,
    inner=24_576,
    layers=28,
    heads=16,
    groups=16,
    head_size=256,
    activation="gelu_pytorch_tanh",
    tied=True,
    norm_shift=1.0,
    embedding_scale=True,
)


def spec(config: Config) -> Spec:
    """The transformer that config.json describes. Its `hidden_act` 'gelu' has always meant the tanh form."""
    config.refuse(
        "use_bidirectional_attention", why="attention without an order is none that nla builds here"
    )
    act = config.values.get("hidden_activation") or config.values.get("hidden_act")
    if act in (None, "gelu"):
        act = _DEFAULTS.activation
    return llama.decoder(Config({**config.values, "hidden_act": act}), _DEFAULTS)
