"""Qwen2 and Qwen3: LLaMA with biases on queries, keys and values (2) or norms on the heads (3), and windows."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import llama, reading
from nla.architectures.spec import Spec
from nla.errors import ModelError, printable

_QWEN2 = llama.Defaults(vocabulary=151_936, inner=22_016, groups=32, attention_bias=None)
_QWEN3 = llama.Defaults(vocabulary=151_936, inner=22_016, groups=32, head_size=128, head_norms=True)

_KINDS = ("full_attention", "sliding_attention")


def qwen2(config: Config) -> Spec:
    """The transformer that config.json describes."""
    return llama.decoder(config, _QWEN2, _windows(config, _QWEN2.layers))


def qwen3(config: Config) -> Spec:
    """The transformer that config.json describes."""
    return llama.decoder(config, _QWEN3, _windows(config, _QWEN3.layers))


def _windows(config: Config, default_layers: int) -> tuple[int | None, ...]:
    """The window of each block: `layer_types` says which have one, or they are those from `max_window_layers` on."""
    count = reading.layers(config, default=default_layers)
    used = config.flag("use_sliding_window", default=False)
    nothing = "sliding_window" in config.values and not config.has("sliding_window")
    window = config.count("sliding_window", default=4096) if used and not nothing else None
    first = config.count("max_window_layers", default=28, least=0)
    kinds = config.words("layer_types") or tuple(
        _KINDS[window is not None and at >= first] for at in range(count)
    )
    strange = next((kind for kind in kinds if kind not in _KINDS), None)
    if strange is not None or len(kinds) != count:
        what = f"'{printable(strange)}'" if strange is not None else f"{len(kinds)} entries"
        raise ModelError(f"config.json: layer_types has {what}: expected {count} of {', '.join(_KINDS)}")
    if window is None and _KINDS[1] in kinds:
        raise ModelError("config.json: layer_types has sliding_attention, and use_sliding_window is not true")
    return tuple(window if kind == _KINDS[1] else None for kind in kinds)
