"""fp16 and bf16: weights are cast in the graph, embeddings are looked up as they are, sites name stored tensors."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from transformer_cases import FIXTURE_CASES
from transformer_variants import Tensors, opened, run_first, variant

from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.site import Site

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}


def rounded(dtype: str, back: bool) -> object:
    """Tensors in another type; `back`: rounded so, and in float32 again."""

    def change(tensors: Tensors) -> Tensors:
        other = {name: array.astype(DTYPES[dtype]) for name, array in tensors.items()}
        return {name: array.astype(np.float32) for name, array in other.items()} if back else other

    return change


def found(folder: Path) -> tuple[Site, ...]:
    sites, not_understood = find_sites(prepare(opened(folder)).model)
    assert not not_understood
    return sites


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_half_precision_gives_exactly_what_the_rounded_weights_give(name: str, dtype: str, tmp_path: Path):
    half = variant(name, tmp_path / "half", rounded(dtype, back=False))
    whole = variant(name, tmp_path / "whole", rounded(dtype, back=True))
    np.testing.assert_allclose(
        run_first(name, opened(half)), run_first(name, opened(whole)), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "vit"])
def test_sites_are_the_same_and_name_the_stored_tensors(name: str, dtype: str, tmp_path: Path):
    half = variant(name, tmp_path / "half", rounded(dtype, back=False))
    whole = variant(name, tmp_path / "whole", rounded(dtype, back=True))
    for one, other in zip(found(half), found(whole), strict=True):
        assert one == other
        assert (one.out_norm is None) == (other.out_norm is None)
        if one.out_norm is not None:
            np.testing.assert_allclose(one.out_norm, other.out_norm, rtol=1e-6)


def test_an_embedding_is_looked_up_before_it_is_cast(tmp_path: Path):
    checkpoint = opened(variant("opt", tmp_path, rounded("bfloat16", back=False)))
    tables = {"model.decoder.embed_positions.weight"}  # the other one is the tied head too
    readers = {node.op_type for node in checkpoint.proto.graph.node if tables & set(node.input)}
    assert readers == {"Gather"}
