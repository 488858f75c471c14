"""Small transformers of every family: what the fixtures hold, and what is compared with transformers itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nla.architectures.builder import FLOAT
from nla.checkpoint.built import BuiltCheckpoint
from nla.replay.session import Session

FIXTURES = Path(__file__).parent / "architectures" / "fixtures"
TOKENS, ROWS = 7, 12
TINY = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": ROWS,
}
GROUPED = {**TINY, "num_key_value_heads": 2}
GPT2 = {"n_embd": 16, "n_inner": 24, "n_layer": 2, "n_head": 4, "vocab_size": 40, "n_positions": ROWS}
OPT = {
    "hidden_size": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": ROWS,
    "word_embed_proj_dim": 16,
}
DISTIL = {
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": ROWS,
}
VIT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 12,
    "patch_size": 4,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 50.0,
    "factor": 4.0,
    "beta_fast": 4.0,
    "original_max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Case:
    """A configuration, and the class of transformers that it is for."""

    family: str
    values: Mapping[str, Any]
    auto: str = "AutoModelForCausalLM"
    outputs: Mapping[str, str] = field(default_factory=lambda: {"logits": "logits"})
    """nla's outputs by the names that transformers gives them."""


def encoder(family: str, values: Mapping[str, Any], auto: str = "AutoModel", **outputs: str) -> Case:
    """A case whose first output is the last hidden state."""
    return Case(family, values, auto, outputs or {"last_hidden_state": "last_hidden_state"})


POOLED = {"last_hidden_state": "last_hidden_state", "pooler_output": "pooler_output"}

FIXTURE_CASES: dict[str, Case] = {
    "gpt2": Case("gpt2", GPT2),
    "opt": Case("opt", OPT),
    "opt_post": Case("opt", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 8}),
    "llama": Case("llama", GROUPED),
    "llama3": Case("llama", {**GROUPED, "rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "mistral": Case("mistral", {**GROUPED, "sliding_window": 4}),
    "qwen2": Case(
        "qwen2", {**GROUPED, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
    ),
    "qwen3": Case("qwen3", {**GROUPED, "head_dim": 6}),
    "gemma": Case("gemma", {**GROUPED, "head_dim": 6}),
    "gpt_neox": Case("gpt_neox", {**TINY, "rotary_pct": 0.5}),
    "phi": Case("phi", TINY),
    "bert": encoder("bert", TINY, **POOLED),
    "roberta": encoder("roberta", {**TINY, "pad_token_id": 1}, **POOLED),
    "distilbert": encoder("distilbert", DISTIL),
    "vit": encoder("vit", VIT, **POOLED),
}
"""One checkpoint each is committed, with what transformers computed."""

CASES: dict[str, Case] = {
    **FIXTURE_CASES,
    "gpt2_scaled": Case(
        "gpt2",
        {**GPT2, "scale_attn_by_inverse_layer_idx": True, "activation_function": "relu", "n_inner": None},
    ),
    "gpt2_unscaled": Case(
        "gpt2",
        {
            **GPT2,
            "scale_attn_weights": False,
            "activation_function": "quick_gelu",
            "layer_norm_epsilon": 0.01,
        },
    ),
    "opt_bare": Case(
        "opt",
        {
            **OPT,
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "_remove_final_layer_norm": True,
            "activation_function": "silu",
        },
    ),
    "llama_linear": Case(
        "llama", {**TINY, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}}
    ),
    "llama_yarn": Case("llama", {**GROUPED, "head_dim": 8, "rope_parameters": YARN}),
    "qwen2_yarn": Case(
        "qwen2",
        {**GROUPED, "rope_parameters": {**YARN, "mscale": 2.0, "mscale_all_dim": 0.5, "truncate": False}},
    ),
    "llama_biased": Case(
        "llama", {**GROUPED, "attention_bias": True, "mlp_bias": True, "head_dim": 6, "hidden_act": "gelu"}
    ),
    "llama_base": encoder("llama", GROUPED),
    "mistral_whole": Case("mistral", {**GROUPED, "sliding_window": None}),
    "qwen2_whole": Case("qwen2", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3_windows": Case(
        "qwen3",
        {
            **GROUPED,
            "head_dim": 6,
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"],
            "attention_bias": True,
        },
    ),
    "gemma_untied": Case(
        "gemma", {**GROUPED, "head_dim": 4, "tie_word_embeddings": False, "hidden_act": "gelu"}
    ),
    "gpt_neox_sequential": Case(
        "gpt_neox", {**TINY, "rotary_pct": 1.0, "use_parallel_residual": False, "attention_bias": False}
    ),
    "phi_normed": Case("phi", {**GROUPED, "qk_layernorm": True, "hidden_act": "gelu_pytorch_tanh"}),
    "bert_tanh": encoder("bert", {**TINY, "hidden_act": "tanh", "type_vocab_size": 3}, **POOLED),
    "camembert": encoder("camembert", {**TINY, "pad_token_id": 2, "type_vocab_size": 1}),
    "xlm_roberta": encoder("xlm-roberta", {**TINY, "layer_norm_eps": 1e-5}),
    "distilbert_relu": encoder("distilbert", {**DISTIL, "activation": "relu"}),
    "vit_oblong": encoder(
        "vit",
        {
            **VIT,
            "image_size": [8, 12],
            "patch_size": [4, 2],
            "qkv_bias": False,
            "num_channels": 1,
            "pooler_act": "relu",
        },
        **POOLED,
    ),
    "bert_masked": encoder("bert", TINY, "AutoModelForMaskedLM", logits="logits"),
    "bert_pretraining": encoder(
        "bert",
        TINY,
        "AutoModelForPreTraining",
        logits="prediction_logits",
        seq_relationship_logits="seq_relationship_logits",
    ),
    "bert_classifier": encoder(
        "bert", {**TINY, "num_labels": 3}, "AutoModelForSequenceClassification", logits="logits"
    ),
    "bert_tokens": encoder(
        "bert", {**TINY, "num_labels": 5}, "AutoModelForTokenClassification", logits="logits"
    ),
    "bert_answers": encoder(
        "bert", TINY, "AutoModelForQuestionAnswering", start_logits="start_logits", end_logits="end_logits"
    ),
    "roberta_masked": encoder("roberta", TINY, "AutoModelForMaskedLM", logits="logits"),
    "roberta_classifier": encoder(
        "roberta", {**TINY, "num_labels": 3}, "AutoModelForSequenceClassification", logits="logits"
    ),
    "roberta_tokens": encoder("roberta", TINY, "AutoModelForTokenClassification", logits="logits"),
    "distilbert_masked": encoder("distilbert", DISTIL, "AutoModelForMaskedLM", logits="logits"),
    "distilbert_classifier": encoder(
        "distilbert", {**DISTIL, "num_labels": 3}, "AutoModelForSequenceClassification", logits="logits"
    ),
    "distilbert_tokens": encoder("distilbert", DISTIL, "AutoModelForTokenClassification", logits="logits"),
    "distilbert_answers": encoder(
        "distilbert",
        DISTIL,
        "AutoModelForQuestionAnswering",
        start_logits="start_logits",
        end_logits="end_logits",
    ),
    "gpt2_classifier": encoder(
        "gpt2",
        {**GPT2, "pad_token_id": 0, "num_labels": 3},
        "AutoModelForSequenceClassification",
        logits="logits",
    ),
    "llama_classifier": encoder(
        "llama",
        {**GROUPED, "pad_token_id": 1, "num_labels": 3},
        "AutoModelForSequenceClassification",
        logits="logits",
    ),
    "vit_classifier": encoder(
        "vit", {**VIT, "num_labels": 3}, "AutoModelForImageClassification", logits="logits"
    ),
}


def feeds(case: Case, padding: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a case: a full row, one padded on the right, one on the left."""
    random = np.random.default_rng(seed)
    if case.family == "vit":
        size = case.values["image_size"]
        shape = size if isinstance(size, list) else [size, size]
        return {
            "pixel_values": random.normal(size=(2, case.values.get("num_channels", 3), *shape)).astype(
                np.float32
            )
        }
    ids = random.integers(3, 40, (3, TOKENS))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    mask[2, :3] = 0
    ids[mask == 0] = padding
    given = {"input_ids": ids, "attention_mask": mask}
    if "bert" in case.family and case.family != "distilbert":
        given["token_type_ids"] = random.integers(0, case.values.get("type_vocab_size", 2), ids.shape)
    return given


def run(
    checkpoint: BuiltCheckpoint, names: Sequence[str], given: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Tensors of the built graph by name, computed by onnxruntime on the checkpoint's own files."""
    proto = onnx.ModelProto()
    proto.CopyFrom(checkpoint.proto)
    there = {output.name for output in proto.graph.output}
    taps = (name for name in names if name not in there)
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in taps)
    return Session(proto.SerializeToString(), checkpoint.map_external()).run(names, given)


def error(got: np.ndarray, expected: np.ndarray, mask: np.ndarray | None) -> float:
    """The largest difference where the mask is not zero, relative to the largest value from 1 on."""
    assert got.shape == expected.shape
    if mask is not None and got.shape[:2] == mask.shape:
        got, expected = got[mask != 0], expected[mask != 0]
    return float(np.abs(got.astype(np.float64) - expected).max() / max(1.0, np.abs(expected).max()))
