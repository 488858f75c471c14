"""What transformers and torch compute: the oracle of the tests, and of the fixtures' reference values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformer_cases import Case

_DOWN = re.compile(
    r"(mlp\.(c_proj|fc2|down_proj|dense_4h_to_h)|layers\.\d+\.fc2|layer\.\d+\.output\.dense|ffn\.lin2)$"
)
_OUT = re.compile(r"(attn|attention)\.(c_proj|out_proj|o_proj|dense|out_lin|output\.dense)$")


@dataclass(frozen=True)
class Reference:
    """What a model computed."""

    outputs: dict[str, np.ndarray]
    """By nla's names."""
    neurons: list[np.ndarray]
    """What enters each block's down projection."""
    heads: list[np.ndarray]
    """What enters each block's output projection."""
    states: list[np.ndarray]
    """What enters each block: the last one's output may be normalised already, and is left out."""


def make(case: Case, seed: int = 0) -> Any:
    """A model with random weights, biases and norms."""
    torch.manual_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.AutoConfig.for_model(case.family, **case.values)
        model = getattr(transformers, case.auto).from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            noise = torch.randn_like(weights) * (0.3 if weights.ndim > 1 else 0.2)
            norm = (
                weights.ndim == 1
                and re.search(r"(norm|ln_\w+)\.weight$", name.lower())
                and case.family != "gemma"
            )
            weights.copy_(noise + 1.0 if norm else noise)
    model.tie_weights()
    return model


def save(model: Any, folder: Path, **more: Any) -> None:
    """The checkpoint, as transformers writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, **more)


def load(case: Case, folder: Path) -> Any:
    """The checkpoint as transformers reads it, in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto = getattr(transformers, case.auto)
        return auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def compute(model: Any, case: Case, given: Mapping[str, np.ndarray]) -> Reference:
    """Outputs, MLP neurons and heads of one run."""
    neurons: list[np.ndarray] = []
    heads: list[np.ndarray] = []

    def keep(where: list[np.ndarray]) -> Any:
        return lambda _, inputs: where.append(inputs[0].detach().float().numpy().copy())

    handles = []
    for name, module in model.named_modules():
        for pattern, where in ((_OUT, heads), (_DOWN, neurons)):
            if pattern.search(name):
                handles.append(module.register_forward_pre_hook(keep(where)))
                break
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fed = {name: torch.from_numpy(values) for name, values in given.items()}
        made = model(**fed, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    outputs = {ours: made[theirs].float().numpy() for ours, theirs in case.outputs.items()}
    rows = next(iter(given.values())).shape[0]
    states = [state.float().numpy() for state in made.hidden_states[:2]]
    return Reference(outputs, [n.reshape(rows, -1, n.shape[-1]) for n in neurons], heads, states)


def padding_of(model: Any) -> int:
    """The padding token of a model; 0 where it has none."""
    found = getattr(model.config, "pad_token_id", None)
    return found if isinstance(found, int) else 0
