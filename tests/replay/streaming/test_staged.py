"""All stages on one batch: what a plain session gives, from several threads too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cut_checkpoints as made
import numpy as np
import pytest

import nla
from nla.errors import ModelError
from nla.replay.session import Session
from nla.replay.streaming import staged
from nla.replay.streaming.staged import StagedSession, session_of


def outputs(checkpoint) -> list[str]:
    return [output.name for output in checkpoint.proto.graph.output]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kept", [0, 1 << 30], ids=["bound anew", "kept bound"])
def test_the_outputs_are_those_of_a_plain_session(tmp_path, monkeypatch, dtype, kept):
    monkeypatch.setattr(staged, "_KEPT_BYTES", kept)
    checkpoint = made.opened(made.gpt2(tmp_path / "c", dtype))
    session = session_of(checkpoint)
    assert isinstance(session, StagedSession)
    plain = Session(checkpoint.proto.SerializeToString(), checkpoint.map_external())
    assert set(session.inputs) == set(plain.inputs)
    fed, names = made.tokens(5), outputs(checkpoint)
    for ours, theirs in zip(session.run(names, fed), plain.run(names, fed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_several_threads_may_run_it(tmp_path, monkeypatch):
    monkeypatch.setattr(staged, "_KEPT_BYTES", 0)
    checkpoint = made.opened(made.gpt2(tmp_path / "c", "bfloat16"))
    session, names = session_of(checkpoint), outputs(checkpoint)
    batches = [made.tokens(3, seed) for seed in range(8)]
    alone = [session.run(names, fed) for fed in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda fed: session.run(names, fed), batches))
    for ours, theirs in zip(together, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_tensors_of_any_stage_in_any_order(tmp_path):
    checkpoint = made.network(made.layers(tmp_path / "c"))
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    session = session_of(checkpoint)
    y, first, last = session.run(["y", "sum.0", "act.2"], {"x": x})
    weight, bias = (checkpoint.source.array(f"0.{name}") for name in ("weight", "bias"))
    np.testing.assert_allclose(first, x @ weight.T + bias, rtol=1e-5)
    assert y.shape == (4, 3)
    assert (last >= 0).all()
    with pytest.raises(ModelError, match="'nowhere' is not in the graph"):
        session.run(["nowhere"], {"x": x})


def test_verification_runs_in_stages(tmp_path):
    folder = made.gpt2(tmp_path / "c")
    data = made.saved(tmp_path / "data.npz", made.tokens(6))
    verified = nla.verify(folder, folder, data)
    assert verified.holds
