"""Masks for other pruners: what safetensors reads is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from nla.checkpoint.masks_file import write_masks
from nla.errors import OutputError


def test_masks_come_back_by_name_and_shape(tmp_path):
    masks = {
        "conv.weight": np.arange(24).reshape(2, 3, 4) % 3 > 0,
        "Gewicht/ü": np.asfortranarray(np.eye(3) > 0),
        "scalar": np.array(True),
        "none": np.zeros((0, 3), bool),
    }
    write_masks(tmp_path / "masks.safetensors", masks, metadata={"manifest": "abc"})
    found = load_file(tmp_path / "masks.safetensors")
    assert set(found) == set(masks)
    for name, mask in masks.items():
        assert found[name].dtype == np.bool_
        np.testing.assert_array_equal(found[name], mask)


def test_the_same_masks_in_any_order_give_the_same_bytes(tmp_path):
    masks = {name: np.ones(3, bool) for name in "abc"}
    write_masks(tmp_path / "one", masks, metadata={"a": "1", "b": "2"})
    write_masks(tmp_path / "two", dict(reversed(masks.items())), metadata={"b": "2", "a": "1"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_cannot_be_written(tmp_path):
    masks = {"w": np.ones(3, bool)}
    with pytest.raises(OutputError, match="__metadata__"):
        write_masks(tmp_path / "m", {"__metadata__": np.ones(3, bool)})
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(OutputError, match="it is the file that was read"):
        write_masks(tmp_path / "model.onnx", masks, sources=[tmp_path / "model.onnx"])
    with pytest.raises(AssertionError, match="a mask of int64"):
        write_masks(tmp_path / "m", {"w": np.ones(3, int)})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
