"""What nla wrote, as transformers reads it: it loads without a warning about a tensor, and computes the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dead_checkpoints import Units, feeds, files, make, outputs
from transformer_cases import CASES, Case

import nla

pytest.importorskip("torch")
pytest.importorskip("transformers")

BLOCKS = {0: Units((1, 5), (7,), ((9, 3),)), 1: Units((0, 2, 4), (6,), ((11, 10),))}
SLOW = ("opt_post", "mistral", "qwen2", "qwen3", "gemma", "gpt_neox", "phi", "roberta", "distilbert", "vit")


def loaded(case: Case, folder: Path) -> Any:
    """The model, of whose tensors none is missing, left over or of another shape."""
    import torch
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, info = getattr(transformers, case.auto).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def computed(case: Case, folder: Path) -> list[np.ndarray]:
    import torch

    given = {name: torch.from_numpy(values) for name, values in feeds(case.family).items()}
    with torch.inference_mode():
        found = loaded(case, folder)(**given)
    return [found[name].numpy() for name in case.outputs.values()]


@pytest.mark.parametrize("policy", ["prune", "mask"])
@pytest.mark.parametrize(
    "name",
    ["gpt2", "opt", "llama", "bert", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_an_edited_folder_loads_and_computes_the_same(name: str, policy: str, tmp_path: Path):
    case = CASES[name]
    source = make(tmp_path / "source", name, BLOCKS, shards=2 if name == "llama" else 1)
    nla.inspect(source, feeds(name), output=tmp_path / "run.h5", in_process=True)
    manifest = nla.plan(tmp_path / "run.h5", policy, in_process=True)
    done = nla.apply(manifest, source, tmp_path / "out", in_process=True)
    assert done.done() >= 5
    for before, after in zip(computed(case, source), computed(case, tmp_path / "out"), strict=True):
        assert np.abs(before - after).max() < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_load_in_their_type(dtype: str, tmp_path: Path):
    import torch
    import transformers

    source = make(tmp_path / "source", "llama", BLOCKS, dtype=dtype)
    nla.prune(source, feeds("llama"), tmp_path / "out", in_process=True, tolerance=0.1)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == getattr(torch, dtype)
    assert model.config.intermediate_size == 20
    case = CASES["llama"]
    for before, after in zip(
        computed(case, tmp_path / "out"), outputs(tmp_path / "out", feeds("llama")), strict=False
    ):
        assert np.abs(before - after).max() < 1e-5


def test_what_transformers_saves_of_the_result_is_what_nla_wrote(tmp_path: Path):
    """Tensors, their order and types; and nla reads what transformers writes of it."""
    import transformers
    from dead_checkpoints import order_of, tensors_of

    source = make(tmp_path / "source", "gpt2", BLOCKS)
    nla.prune(source, feeds("gpt2"), tmp_path / "out", in_process=True)
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")
    one, two = (tensors_of(tmp_path / name) for name in ("out", "again"))
    assert {name: values.tobytes() for name, values in one.items()} == {
        name: values.tobytes() for name, values in two.items()
    }
    assert order_of(tmp_path / "out/model.safetensors") == order_of(source / "model.safetensors")
    assert "config.json" in files(tmp_path / "again")
    for before, after in zip(
        outputs(tmp_path / "out", feeds("gpt2")), outputs(tmp_path / "again", feeds("gpt2")), strict=True
    ):
        assert np.array_equal(before, after)
