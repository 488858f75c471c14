"""What an edited model says of itself, and `verify` believes or does not: which units stayed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from site_graphs import model

import nla
from nla.manifest.document import Action, Manifest, read
from nla.surgery.report import STAYED

X = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with five dead units of eight, the manifest that removes them, and what `--round-to 4` made of it."""
    bias = np.full(8, 0.5, np.float32)
    bias[[1, 2, 4, 5, 7]] = -1e6
    weights = {"w": (4, 8), "b": bias, "v": (8, 2)}
    onnx.save(
        model("float[N,4] x => float[N,2] y", "z = Gemm(x, w, b)\na = Relu(z)\ny = MatMul(a, v)", weights),
        tmp_path / "model.onnx",
    )
    nla.inspect(tmp_path / "model.onnx", X, output=tmp_path / "run.h5", in_process=True)
    nla.plan(tmp_path / "run.h5", "prune", output=tmp_path / "m.json", in_process=True)
    nla.apply(
        tmp_path / "m.json", tmp_path / "model.onnx", tmp_path / "edited.onnx", round_to=4, in_process=True
    )
    return tmp_path


def verified(folder: Path, stayed: object = None) -> nla.Verification:
    """With another account of what stayed in the edited model's metadata, where one is given."""
    if stayed is not None:
        edited = onnx.load(folder / "edited.onnx")
        entry = next(entry for entry in edited.metadata_props if entry.key == STAYED)
        entry.value = stayed if isinstance(stayed, str) else json.dumps(stayed)
        onnx.save(edited, folder / "edited.onnx")
    return nla.verify(
        folder / "model.onnx", folder / "edited.onnx", X, manifest=folder / "m.json", in_process=True
    )


def test_an_honest_account_is_believed_and_named_as_such(folder):
    seen = verified(folder)
    assert seen.holds
    assert seen.notes == ("which units of the manifest stayed (1) is what the edited model says of itself",)
    (change,) = seen.states
    assert (change.neurons_before, change.neurons_after, change.removed) == (8, 4, 4)


@pytest.mark.parametrize("stayed", [{"a1": []}, {"a1": [1, 2]}])
def test_an_account_that_the_widths_contradict_is_told(folder, stayed):
    seen = verified(folder, stayed)
    left = 5 - len(stayed["a1"])
    assert (
        f"a: {left} of its 8 units left, as the manifest and the edited model say, and it has 4"
        in seen.notes[-1]
    )
    assert seen.states[0].removed is None


@pytest.mark.parametrize("stayed", [{"a1": [0]}, {"a2": [1]}, {"a1": ["1"]}, "{"])
def test_an_account_of_other_units_is_refused_in_one_line(folder, stayed):
    with pytest.raises(nla.ModelError, match="metadata do not say which units stayed"):
        verified(folder, stayed)


def test_without_cuts_there_is_nothing_to_contradict(folder):
    manifest = Manifest(read(folder / "m.json").checkpoint, actions=(Action("a1", "mask", "a", (1,)),))
    nla.apply(manifest, folder / "model.onnx", folder / "masked.onnx", in_process=True)
    seen = nla.verify(folder / "model.onnx", folder / "masked.onnx", X, manifest=manifest, in_process=True)
    assert seen.notes == ()
