"""What is no checkpoint of its architecture, or asks for what nla does not know, is refused by name in one line."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformer_variants import Tensors, opened, variant

from nla.architectures.opening import open_checkpoint
from nla.errors import ModelError, NlaError, UsageError


def refusal(name: str, folder: Path, tensors: Any = dict, **values: Any) -> str:
    """What is said of the fixture with these tensors and these values of config.json."""
    variant(name, folder, tensors, lambda config: {**config, **values})
    with pytest.raises(ModelError) as raised:
        opened(folder)
    said = str(raised.value)
    assert said.isprintable()
    assert said.startswith(str(folder))
    return said


UNKNOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "model type": ("llama", {"model_type": "hyena9000"}, r"model_type 'hyena9000'.*bert, .*vit"),
    "activation": ("llama", {"hidden_act": "xielu"}, r"activation function 'xielu'.*gelu.*silu"),
    "squared relu": ("opt", {"activation_function": "relu2"}, r"activation function 'relu2'"),
    "pooler's activation": ("vit", {"pooler_act": "laplace"}, r"activation function 'laplace'"),
    "rope type": (
        "llama",
        {"rope_parameters": {"rope_type": "longrope", "factor": 2.0}},
        r"rope type 'longrope'.*default, linear, llama3, yarn",
    ),
    "dynamic rope": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
        r"rope type 'dynamic'",
    ),
    "rope by layer": (
        "llama",
        {"rope_parameters": {"full": {"rope_theta": 1.0}}},
        r"differ by kind of layer",
    ),
    "positions": (
        "bert",
        {"position_embedding_type": "relative_key"},
        r"position_embedding_type relative_key",
    ),
    "decoder": ("bert", {"is_decoder": True}, r"is_decoder"),
    "cross-attention": ("gpt2", {"add_cross_attention": True}, r"add_cross_attention"),
    "slices": ("llama", {"pretraining_tp": 2}, r"pretraining_tp 2"),
    "both directions": ("gemma", {"use_bidirectional_attention": True}, r"use_bidirectional_attention"),
    "kind of layer": ("qwen2", {"layer_types": ["full_attention", "mamba"]}, r"layer_types has 'mamba'"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_refused_by_name(what: str, tmp_path: Path):
    name, values, expected = UNKNOWN[what]
    said = refusal(name, tmp_path, **values)
    assert re.search(expected, said), said


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "heads that do not divide": (
        "bert",
        {"num_attention_heads": 3},
        "hidden size of 16 cannot be shared by 3 heads",
    ),
    "groups that do not divide": (
        "llama",
        {"num_key_value_heads": 3},
        "4 is no multiple of num_key_value_heads 3",
    ),
    "no heads": ("gpt2", {"n_head": 0}, "n_head is 0"),
    "negative layers": ("llama", {"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    "a billion layers": ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    "four thousand layers": ("llama", {"num_hidden_layers": 4000}, "no tensor of 'model.layers.2'"),
    "a layer more": ("gpt2", {"n_layer": 3}, "config.json says 3 blocks"),
    "a width that is text": ("llama", {"hidden_size": "16"}, "hidden_size is '16'"),
    "a width that is a float": ("llama", {"hidden_size": 16.0}, "hidden_size is 16.0"),
    "a width that is true": ("llama", {"hidden_size": True}, "hidden_size is True"),
    "an epsilon of zero": ("llama", {"rms_norm_eps": 0}, "rms_norm_eps is 0"),
    "a flag that is text": ("opt", {"do_layer_norm_before": "yes"}, "do_layer_norm_before is 'yes'"),
    "a window of zero": ("mistral", {"sliding_window": 0}, "sliding_window is 0"),
    "rope that is a list": ("llama", {"rope_parameters": [1]}, "rope_parameters is [1]"),
    "an odd share": ("phi", {"rope_parameters": {"partial_rotary_factor": 0.25}}, "expected an even number"),
    "an image smaller than a patch": ("vit", {"image_size": 2}, "larger than image_size"),
    "an image of three sides": ("vit", {"image_size": [2, 3, 4]}, "image_size is [2, 3, 4]"),
    "no model type": ("llama", {"model_type": None, "architectures": None}, "names no model_type"),
    "a model type that is a list": ("llama", {"model_type": ["llama"]}, "model_type is ['llama']"),
}


@pytest.mark.parametrize("what", WRONG)
def test_values_out_of_range_are_named(what: str, tmp_path: Path):
    name, values, expected = WRONG[what]
    assert expected in refusal(name, tmp_path, **values)


DISAGREE: dict[str, tuple[str, dict[str, Any], str]] = {
    "width": ("llama", {"intermediate_size": 32}, "'model.layers.0.mlp.gate_proj.weight' is [24, 16]"),
    "vocabulary": ("bert", {"vocab_size": 41}, "'embeddings.word_embeddings.weight' is [40, 16]"),
    "positions": ("gpt2", {"n_positions": 99}, "'transformer.wpe.weight' is [12, 16] where [99, 16]"),
    "hidden": (
        "opt",
        {"hidden_size": 32},
        "'model.decoder.embed_positions.weight' is [14, 16] where [14, 32]",
    ),
    "biases that are there": ("gpt_neox", {"attention_bias": False}, "dense.bias'"),
    "biases that are not": ("llama", {"mlp_bias": True}, "'model.layers.0.mlp.gate_proj.bias'"),
    "a norm that is there": (
        "opt",
        {"_remove_final_layer_norm": True},
        "'model.decoder.final_layer_norm.bias'",
    ),
    "fewer layers": ("gpt2", {"n_layer": 1}, "'transformer.h.1.attn.c_attn.bias'"),
    "another family": ("llama", {"model_type": "opt"}, "'model.embed_positions.weight'"),
    "a close family": ("llama", {"model_type": "qwen2"}, "'model.layers.0.self_attn.q_proj.bias'"),
}


@pytest.mark.parametrize("what", DISAGREE)
def test_tensors_that_disagree_with_the_configuration_are_named(what: str, tmp_path: Path):
    name, values, expected = DISAGREE[what]
    assert expected in refusal(name, tmp_path, **values)


def without(*ends: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: array for key, array in tensors.items() if not key.endswith(ends)}


def test_a_missing_tensor_is_named(tmp_path: Path):
    said = refusal("llama", tmp_path, without("layers.1.mlp.up_proj.weight"))
    assert "lacks tensor 'model.layers.1.mlp.up_proj.weight'" in said


def test_ten_missing_tensors_are_named_and_the_others_counted(tmp_path: Path):
    said = refusal("gpt2", tmp_path, without(".bias", "mlp.c_fc.weight"))
    assert said.count("'transformer.") == 10
    assert "lacks 15 tensors" in said
    assert "and 5 more" in said


def test_a_tensor_that_nothing_uses_is_named(tmp_path: Path):
    more = {"model.surprise.weight": np.zeros((2, 2), np.float32), "model.count": np.zeros(3, np.int64)}
    said = refusal("llama", tmp_path, lambda tensors: {**tensors, **more})
    assert (
        "'model.count', 'model.surprise.weight'" in said or "'model.surprise.weight', 'model.count'" in said
    )
    assert "used by nothing" in said


def test_ten_unused_tensors_are_named_and_the_others_counted(tmp_path: Path):
    more = {f"model.extra.{at}": np.zeros(1, np.float32) for at in range(13)}
    said = refusal("llama", tmp_path, lambda tensors: {**tensors, **more})
    assert said.count("'model.extra.") == 10
    assert "and 3 more" in said


def test_integers_where_weights_are_expected_are_refused(tmp_path: Path):
    said = refusal("llama", tmp_path, lambda t: {**t, "model.norm.weight": np.ones(16, np.int64)})
    assert "'model.norm.weight' is of type I64" in said


def test_names_are_told_escaped(tmp_path: Path):
    said = refusal("llama", tmp_path, lambda t: {**t, "evil\x1b[31m": np.ones(1, np.float32)})
    assert r"evil\x1b[31m" in said


@pytest.mark.shared
def test_what_is_said_of_a_plain_network_makes_no_sense_of_an_onnx_file(shared: Path):
    with pytest.raises(UsageError, match="--layers is for safetensors"):
        open_checkpoint(shared / "models" / "tiny-opt" / "model.onnx", layers="a,b")


HOSTILE = (
    None,
    -1,
    0,
    1,
    3,
    2**31,
    2**70,
    1.5,
    1e300,
    -0.0,
    math.nan,
    math.inf,
    True,
    "",
    "x\x1b[0m",
    [],
    [1],
    {},
    {"a": 1},
)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2", "bert", "vit"])
def test_any_value_of_any_key_gives_a_graph_or_one_line(name: str, tmp_path: Path):
    keys: list[str] = []
    said: list[str] = []
    variant(name, tmp_path, config=lambda values: keys.extend(values) or values)
    random = np.random.default_rng(0)
    start = time.monotonic()
    for key in sorted(
        {
            *keys,
            "rope_scaling",
            "layer_types",
            "hidden_activation",
            "pooler_output_size",
            "tie_word_embeddings",
        }
    ):
        for at in random.permutation(len(HOSTILE))[:3]:
            variant(name, tmp_path, config=lambda values, key=key, at=at: {**values, key: HOSTILE[at]})
            try:
                opened(tmp_path)
            except NlaError as error:
                said.append(str(error))
    assert said
    assert all(line.isprintable() for line in said)
    assert time.monotonic() - start < 60
