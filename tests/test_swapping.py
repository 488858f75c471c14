"""`nla.swap`: where its candidates are written, and what it says where that cannot be."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from site_graphs import model

import nla

X = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    weights = {"w": (4, 5), "v": (5, 2)}
    onnx.save(
        model("float[N,4] x => float[N,2] y", "z = MatMul(x, w)\na = Relu(z)\ny = MatMul(a, v)", weights),
        path,
    )
    return path


def test_no_folder_for_candidates_is_one_line(source, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(source.parent / "gone"))
    with pytest.raises(
        nla.OutputError, match=r"^no folder for the candidates.*; name one with room in TMPDIR$"
    ):
        nla.swap(source, X, candidates="elu", in_process=True)


def test_with_an_output_candidates_lie_beside_it(source, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(source.parent / "gone"))
    out = source.parent / "out.onnx"
    done = nla.swap(source, X, candidates="elu", to="elu", output=out, in_process=True)
    assert done.output == out
    assert {path.name for path in source.parent.iterdir()} == {"model.onnx", "out.onnx"}


def test_an_output_that_cannot_be_written_is_refused_before_the_work(source):
    with pytest.raises(nla.OutputError):
        nla.swap(source, X, to="elu", output=source.parent / "gone" / "out.onnx", in_process=True)


def test_a_model_without_sites_is_told_of_the_verb_that_takes_layers_without_activations(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model("float[N,4] x => float[N,5] y", "y = MatMul(x, w)", {"w": (4, 5)}), path)
    with pytest.raises(nla.ModelError, match="`nla inspect --include linear`"):
        nla.prune(path, X, tmp_path / "out.onnx", in_process=True)
