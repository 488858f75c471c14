"""Mistral: LLaMA with a window over which tokens see one another."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import llama, reading
from nla.architectures.spec import Spec

_DEFAULTS = llama.Defaults(inner=14_336, groups=8)


def spec(config: Config) -> Spec:
    """The transformer that config.json describes; a `sliding_window` that is null is none at all."""
    stated = "sliding_window" in config.values
    window = (
        config.count("sliding_window", default=4096) if not stated or config.has("sliding_window") else None
    )
    count = reading.layers(config, default=_DEFAULTS.layers)
    return llama.decoder(config, _DEFAULTS, (window,) * count)
