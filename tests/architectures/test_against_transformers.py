"""Every family against transformers and torch: outputs, every MLP neuron, every head and the residual stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformer_cases import CASES, Case, error, feeds, run

from nla.architectures.opening import open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.site import Site

pytest.importorskip("torch")
pytest.importorskip("transformers")

TOLERANCE = 1e-5


def sites_of(checkpoint: BuiltCheckpoint, role: str) -> list[Site]:
    return [site for site in find_sites(prepare(checkpoint).model)[0] if site.role == role]


def worst(folder: Path, model: object, case: Case) -> dict[str, float]:
    """The largest error of each output, of each block's neurons, heads and input."""
    from transformer_reference import compute, padding_of

    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, BuiltCheckpoint)
    given = feeds(case, padding_of(model))
    expected = compute(model, case, given)
    neurons = [site.name for site in sites_of(checkpoint, "mlp_post")]
    heads = [site.name for site in sites_of(checkpoint, "head")]
    assert len(neurons) == len(heads) == len(expected.neurons) == len(expected.heads) == 2
    names = [*expected.outputs, *neurons, *heads, *checkpoint.cuts[:2]]
    wanted = [*expected.outputs.values(), *expected.neurons, *expected.heads, *expected.states]
    got = run(checkpoint, names, given)
    mask = given.get("attention_mask")
    return {name: error(a, b, mask) for name, a, b in zip(names, got, wanted, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_a_built_graph_computes_what_transformers_computes(name: str, tmp_path: Path):
    from transformer_reference import make, save

    model = make(CASES[name], seed=1)
    save(model, tmp_path)
    errors = worst(tmp_path, model, CASES[name])
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma", "bert", "vit", "opt_post"])
def test_half_precision_is_computed_in_single_from_the_rounded_weights(name: str, dtype: str, tmp_path: Path):
    import torch
    from transformer_reference import load, make, save

    save(make(CASES[name], seed=2).to(getattr(torch, dtype)), tmp_path)
    errors = worst(tmp_path, load(CASES[name], tmp_path), CASES[name])
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("name", ["llama", "bert", "gpt2"])
def test_shards_make_no_difference(name: str, tmp_path: Path):
    from transformer_reference import make, save

    model = make(CASES[name], seed=3)
    save(model, tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    errors = worst(tmp_path, model, CASES[name])
    assert max(errors.values()) < TOLERANCE, errors
