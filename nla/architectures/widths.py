"""The key of config.json that says how wide the MLPs of all blocks are."""

from __future__ import annotations

_USUAL = "intermediate_size"
_OTHERS = {"gpt2": "n_inner", "opt": "ffn_dim", "distilbert": "hidden_dim", "resnet": None}


def width_key(model_type: str) -> str | None:
    """The key, for an architecture that nla builds a graph for; None where it has no MLPs.

    >>> width_key("gpt2"), width_key("llama"), width_key("resnet")
    ('n_inner', 'intermediate_size', None)
    """
    return _OTHERS.get(model_type, _USUAL)
