"""Names and configurations as other programs and other versions of transformers write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformer_variants import Tensors, first_error, opened, renamed, variant

from nla.errors import ModelError

TOLERANCE = 1e-5

NAMES: dict[str, tuple[str, Callable[[Tensors], Tensors]]] = {
    "gpt2 as first stored": ("gpt2", renamed("transformer.", "")),
    "gpt2 in a wrapper": ("gpt2", renamed("", "module.")),
    "opt without model": ("opt", renamed("model.decoder.", "decoder.")),
    "opt without anything": ("opt_post", renamed("model.decoder.", "")),
    "llama without model": ("llama", renamed("model.", "")),
    "llama in a wrapper": ("llama", renamed("", "_orig_mod.")),
    "gpt_neox without gpt_neox": ("gpt_neox", renamed("gpt_neox.", "")),
    "bert with bert": ("bert", renamed("", "bert.")),
    "bert in sentence-transformers": ("bert", renamed("", "0.auto_model.")),
    "roberta with roberta": ("roberta", renamed("", "roberta.")),
    "distilbert with distilbert": ("distilbert", renamed("", "distilbert.")),
    "vit with vit": ("vit", renamed("", "vit.")),
}


@pytest.mark.parametrize("case", NAMES)
def test_prefixes_make_no_difference(case: str, tmp_path: Path):
    name, change = NAMES[case]
    assert first_error(name, opened(variant(name, tmp_path, change))) < TOLERANCE


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_norms_may_have_gamma_and_beta(name: str, tmp_path: Path):
    def old(tensors: Tensors) -> Tensors:
        norms = ("LayerNorm", "ln_1", "ln_2", "ln_f")
        return {
            (
                key.replace(".weight", ".gamma").replace(".bias", ".beta")
                if key.split(".")[-2] in norms
                else key
            ): array
            for key, array in tensors.items()
        }

    assert first_error(name, opened(variant(name, tmp_path, old))) < TOLERANCE


BUFFERS: dict[str, dict[str, np.ndarray]] = {
    "gpt2": {
        "transformer.h.0.attn.bias": np.tril(np.ones((1, 1, 4, 4), bool)),
        "transformer.h.1.attn.masked_bias": np.float32([-1e4]),
    },
    "gpt_neox": {
        "gpt_neox.layers.0.attention.bias": np.ones((1, 1, 4, 4), bool),
        "gpt_neox.layers.0.attention.masked_bias": np.float32([-1e4]),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(2, np.float32),
    },
    "llama": {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)},
    "bert": {"embeddings.position_ids": np.arange(12)[None]},
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_of_older_versions_are_left_out(name: str, tmp_path: Path):
    folder = variant(name, tmp_path, lambda tensors: {**tensors, **BUFFERS[name]})
    assert first_error(name, opened(folder)) < TOLERANCE


def theta(values: dict[str, Any]) -> dict[str, Any]:
    """config.json of transformers 4: rope_theta beside rope_scaling, torch_dtype for dtype."""
    parameters = dict(values.pop("rope_parameters"))
    base, kind = parameters.pop("rope_theta"), parameters.pop("rope_type")
    values["torch_dtype"] = values.pop("dtype")
    scaling = {"type": kind, **parameters} if kind != "default" else None
    return {**values, "rope_theta": base, "rope_scaling": scaling}


def neox(values: dict[str, Any]) -> dict[str, Any]:
    parameters = values.pop("rope_parameters")
    share, base = parameters["partial_rotary_factor"], parameters["rope_theta"]
    return {**values, "rotary_pct": share, "rotary_emb_base": int(base)}


def phi(values: dict[str, Any]) -> dict[str, Any]:
    parameters = values.pop("rope_parameters")
    share, base = parameters["partial_rotary_factor"], parameters["rope_theta"]
    return {**values, "partial_rotary_factor": share, "rope_theta": base, "rope_scaling": None}


CONFIGS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "llama of transformers 4": ("llama", theta),
    "llama 3 of transformers 4": ("llama3", theta),
    "qwen3 of transformers 4": ("qwen3", lambda values: theta({**values, "layer_types": None})),
    "gpt_neox of transformers 4": ("gpt_neox", neox),
    "phi of transformers 4": ("phi", phi),
    "gemma with the old name of its tanh form": ("gemma", lambda values: {**values, "hidden_act": "gelu"}),
    "gemma with two activations": (
        "gemma",
        lambda values: {**values, "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"},
    ),
    "swish for silu": ("mistral", lambda values: {**values, "hidden_act": "swish"}),
    "gpt2 with general names": (
        "gpt2",
        lambda values: {
            **{key: value for key, value in values.items() if not key.startswith("n_")},
            "hidden_size": values["n_embd"],
            "num_attention_heads": values["n_head"],
            "num_hidden_layers": values["n_layer"],
            "max_position_embeddings": values["n_positions"],
            "n_inner": values["n_inner"],
        },
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_older_configurations_say_the_same(case: str, tmp_path: Path):
    name, change = CONFIGS[case]
    assert first_error(name, opened(variant(name, tmp_path, config=change))) < TOLERANCE


SAID = {
    *("model_type", "vocab_size", "hidden_size", "n_embd", "dim", "intermediate_size", "n_inner", "ffn_dim"),
    *("hidden_dim", "num_hidden_layers", "n_layer", "n_layers", "num_attention_heads", "n_head", "n_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "n_positions", "architectures"),
    *(
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "do_layer_norm_before",
        "word_embed_proj_dim",
    ),
    *("image_size", "patch_size"),
}


@pytest.mark.parametrize(
    "name",
    ["gpt2", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "bert", "roberta", "distilbert", "vit"],
)
def test_what_hub_configurations_leave_out_has_the_defaults_of_the_family(name: str, tmp_path: Path):
    folder = variant(
        name, tmp_path, config=lambda values: {key: value for key, value in values.items() if key in SAID}
    )
    assert first_error(name, opened(folder)) < TOLERANCE


def test_a_tied_head_may_be_stored_too(tmp_path: Path):
    folder = variant("gpt2", tmp_path, lambda t: {**t, "lm_head.weight": t["transformer.wte.weight"].copy()})
    assert first_error("gpt2", opened(folder)) < TOLERANCE


def test_a_tied_head_that_differs_is_refused(tmp_path: Path):
    folder = variant("gpt2", tmp_path, lambda t: {**t, "lm_head.weight": t["transformer.wte.weight"] + 1})
    with pytest.raises(ModelError, match=r"'lm_head.weight' differs from 'transformer.wte.weight'"):
        opened(folder)


def test_an_untied_head_that_lacks_is_missed(tmp_path: Path):
    folder = variant("llama", tmp_path, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    with pytest.raises(ModelError, match=r"lacks tensor 'lm_head.weight'"):
        opened(folder)


def test_a_model_stored_without_its_head_has_hidden_states(tmp_path: Path):
    folder = variant(
        "llama",
        tmp_path,
        lambda t: {k.removeprefix("model."): v for k, v in t.items() if k != "lm_head.weight"},
        lambda values: {**values, "architectures": ["LlamaModel"]},
    )
    assert [output.name for output in opened(folder).proto.graph.output] == ["last_hidden_state"]


def test_a_tied_model_stored_without_its_head_has_hidden_states(tmp_path: Path):
    folder = variant(
        "gpt2",
        tmp_path,
        renamed("transformer.", ""),
        lambda values: {**values, "architectures": ["GPT2Model"]},
    )
    assert [output.name for output in opened(folder).proto.graph.output] == ["last_hidden_state"]


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_neox", "distilbert", "llama", "qwen2", "vit"])
def test_the_class_tells_the_family_where_an_old_configuration_lacks_the_model_type(
    name: str, tmp_path: Path
):
    def old(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key != "model_type"}

    assert first_error(name, opened(variant(name, tmp_path, config=old))) < TOLERANCE


def test_a_classifier_without_a_class_is_taken_for_one_of_sentences_and_that_is_said(tmp_path: Path):
    def classifier(tensors: Tensors) -> Tensors:
        return {
            **tensors,
            "classifier.weight": np.ones((3, 16), np.float32),
            "classifier.bias": np.ones(3, np.float32),
        }

    folder = variant("bert", tmp_path, classifier, lambda values: {**values, "architectures": None})
    assert outputs(folder)["logits"] == ("batch", 3)
    assert opened(folder).notes == (
        "config.json names no architecture: 'classifier' is taken to classify the pooled output",
    )


def stored_twice(tensors: Tensors) -> Tensors:
    """A masked language model as transformers 4 stores it: the tied weight and the bias under two names each."""
    decoder = {
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].copy(),
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].copy(),
    }
    return {**tensors, **decoder}


def with_masked_head(tensors: Tensors) -> Tensors:
    random = np.random.default_rng(0)
    shapes = {
        "cls.predictions.bias": (40,),
        "cls.predictions.transform.dense.weight": (16, 16),
        "cls.predictions.transform.dense.bias": (16,),
        "cls.predictions.transform.LayerNorm.gamma": (16,),
        "cls.predictions.transform.LayerNorm.beta": (16,),
        "cls.seq_relationship.weight": (2, 16),
        "cls.seq_relationship.bias": (2,),
    }
    head = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**renamed("", "bert.")(tensors), **head}


def outputs(folder: Path) -> dict[str, tuple[int | str, ...]]:
    return {
        output.name: tuple(dim.dim_value or dim.dim_param for dim in output.type.tensor_type.shape.dim)
        for output in opened(folder).proto.graph.output
    }


def test_heads_that_are_there_give_further_outputs(tmp_path: Path):
    assert outputs(variant("bert", tmp_path, with_masked_head)) == {
        "last_hidden_state": ("batch", "sequence", 16),
        "pooler_output": ("batch", 16),
        "logits": ("batch", "sequence", 40),
        "seq_relationship_logits": ("batch", 2),
    }


def test_a_tied_decoder_and_its_bias_may_be_stored_under_two_names(tmp_path: Path):
    folder = variant("bert", tmp_path, lambda tensors: stored_twice(with_masked_head(tensors)))
    assert "logits" in outputs(folder)


@pytest.mark.parametrize("name", ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"])
def test_two_names_of_one_tensor_that_differ_are_refused(name: str, tmp_path: Path):
    def change(tensors: Tensors) -> Tensors:
        made = stored_twice(with_masked_head(tensors))
        return {**made, name: made[name] + 1}

    with pytest.raises(ModelError, match=r"differ"):
        opened(variant("bert", tmp_path, change))
