"""Small safetensors checkpoints with graphs that can be cut, and their data: for the tests of streaming."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from nla.architectures.builder import FLOAT, Graph
from nla.architectures.opening import open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.safetensors_source import open_safetensors

Array = NDArray[Any]

WIDTH, INNER, HEADS, WORDS, TOKENS = 32, 64, 4, 100, 9
LAYERS = 4


def gpt2(folder: Path, dtype: str = "float32", seed: int = 0) -> Path:
    """A GPT-2 of four blocks."""
    generator = np.random.default_rng(seed)

    def make(*shape: int, about: float = 0.0) -> Array:
        scale = (
            0.12 if len(shape) > 1 else 0.1
        )  # so that GELU stays off its plateau, where the sign of a is rounding
        return (about + scale * generator.standard_normal(shape, np.float32)).astype(
            ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        )

    tensors = {"wte.weight": make(WORDS, WIDTH), "wpe.weight": make(32, WIDTH)}
    for k in range(LAYERS):
        at = f"h.{k}"
        for norm in ("ln_1", "ln_2"):
            tensors |= {f"{at}.{norm}.weight": make(WIDTH, about=1.0), f"{at}.{norm}.bias": make(WIDTH)}
        for module, inputs, outputs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, INNER),
            ("mlp.c_proj", INNER, WIDTH),
        ):
            tensors |= {
                f"{at}.{module}.weight": make(inputs, outputs),
                f"{at}.{module}.bias": make(outputs),
            }
    tensors |= {"ln_f.weight": make(WIDTH, about=1.0), "ln_f.bias": make(WIDTH)}
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": WIDTH,
        "n_head": HEADS,
        "n_inner": INNER,
        "n_layer": LAYERS,
        "n_positions": 32,
        "vocab_size": WORDS,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tokens(samples: int, seed: int = 1) -> dict[str, Array]:
    """Token ids and a mask, of which every third sample has three positions of padding."""
    generator = np.random.default_rng(seed)
    mask = np.ones((samples, TOKENS), np.int64)
    mask[1::3, TOKENS - 3 :] = 0
    return {"input_ids": generator.integers(0, WORDS, (samples, TOKENS)), "attention_mask": mask}


def layers(folder: Path, sizes: tuple[int, ...] = (6, 40, 40, 40, 3), seed: int = 0) -> Path:
    """The tensors of a plain network; `network` is its graph."""
    generator = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        tensors[f"{k}.weight"] = generator.standard_normal((outputs, inputs), np.float32)
        tensors[f"{k}.bias"] = generator.standard_normal(outputs, np.float32) - 1.0
    tensors["0.bias"][:2] = -100.0  # two dead neurons
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def network(folder: Path, cut_at: str = "act") -> BuiltCheckpoint:
    """Linear layers with ReLU between, cut at the activations ("act") or before them ("sum"); input x [n, 6]."""
    source = open_safetensors(folder)
    graph = Graph(source)
    shapes = [source.tensors[f"{k}.weight"].shape for k in range(len(source.tensors) // 2)]
    x = graph.input("x", FLOAT, ["n", shapes[0][1]])
    for k, (outputs, inputs) in enumerate(shapes):
        x = graph.linear(x, str(k), inputs, outputs, name=f"sum.{k}")
        if cut_at == "sum" and k + 1 < len(shapes):
            graph.cut(x)
        if k + 1 < len(shapes):
            x = graph.Relu(x, name=f"act.{k}")
        if cut_at == "act" and k + 1 < len(shapes):
            graph.cut(x)
    graph.output(x, "y", ["n", shapes[-1][0]])
    return BuiltCheckpoint.of(source, graph.finish("layers"), cuts=graph.cuts, architecture="layers")


def opened(folder: Path) -> BuiltCheckpoint:
    """The checkpoint of a folder in Hugging Face layout."""
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, BuiltCheckpoint)
    return checkpoint


def saved(path: Path, arrays: Mapping[str, Array]) -> Path:
    """The data in a file."""
    np.savez(path, **dict(arrays))
    return path
