"""Real data beside the checkout, as people would feed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nla.calibration import CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

pytestmark = pytest.mark.shared


def test_mnist_bytes_become_the_pixels_of_the_study(shared: Path) -> None:
    options = CalibrationOptions(scale=1 / 255)
    calibration = open_calibration(
        shared / "data/mnist_t10k.npz", [Input("x", "float32", ("batch", 784))], options
    )
    with np.load(shared / "data/mnist_t10k.npz") as raw:
        want = (raw["x"].astype(np.float32) / np.float32(255)).reshape(-1, 784)
        labels = raw["y"].astype(np.int64)
    np.testing.assert_array_equal(calibration.feeds(np.arange(10_000))["x"], want)
    assert calibration.labels is not None
    np.testing.assert_array_equal(calibration.labels.codes, labels)


def test_photographs_are_those_of_pillow(shared: Path) -> None:
    folder = shared / "data/photos"
    options = CalibrationOptions(mean=127, std=128, resample="bicubic")
    calibration = open_calibration(folder, [Input("input", "float32", (1, 3, 240, 320))], options)
    files = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".jpeg", ".png"))
    assert calibration.samples == len(files)
    where = np.array([0, 9, len(files) - 1])
    pixels = np.stack(
        [np.asarray(Image.open(files[i]).convert("RGB").resize((320, 240)), np.float32) for i in where]
    )
    want = ((pixels - 127) / 128).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(calibration.feeds(where)["input"], want)


def test_observations_feed_by_name_and_actions_are_left(shared: Path) -> None:
    inputs = [Input(f"obs_{i}", "float32", ("batch", 105)) for i in (0, 1)]
    masks = Input("action_masks", "float32", ("batch", 7))
    path = shared / "models/mlagents/ExpertPushBlock.npz"
    calibration = open_calibration(path, [*inputs, masks], CalibrationOptions(constants=("action_masks",)))
    with np.load(path) as raw:
        for name in ("obs_0", "obs_1"):
            np.testing.assert_array_equal(calibration.feeds(np.arange(5, 9))[name], raw[name][5:9])
    assert any("not used: act_v" in sentence for sentence in calibration.account)


def test_channels_last_observations_are_refused_with_the_transposition(shared: Path) -> None:
    path = shared / "models/mlagents/ExpertGridWorld.npz"
    with pytest.raises(DataError, match=r"np\.transpose\(obs_0, \(0, 3, 1, 2\)\)"):
        open_calibration(path, [Input("obs_0", "float32", ("batch", 3, 64, 84))], CalibrationOptions())


def test_one_array_among_several_is_named_by_the_user(shared: Path) -> None:
    path, ids = shared / "models/tiny-opt/samples.npz", Input("input_ids", "int64", ("batch", 128))
    with pytest.raises(DataError, match="--input input_ids=ARRAY"):
        open_calibration(path, [ids], CalibrationOptions())
    calibration = open_calibration(path, [ids], CalibrationOptions(rename={"input_ids": "val64"}))
    with np.load(path) as raw:
        np.testing.assert_array_equal(calibration.feeds(np.arange(64))["input_ids"], raw["val64"])
