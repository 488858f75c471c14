"""Folders of images: size, layout, channels, classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

RANDOM = np.random.default_rng(0)


def picture(path: Path, height: int = 6, width: int = 8) -> np.ndarray:
    """Writes a random lossless image; uint8 [height, width, 3]."""
    pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def opened(path: Path, *shape: int | str, dtype: str = "float32", **options: object) -> Calibration:
    return open_calibration(path, [Input("input", dtype, shape)], CalibrationOptions(**options))


def fed(calibration: Calibration) -> np.ndarray:
    return calibration.feeds(np.arange(calibration.samples))["input"]


def test_images_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    pixels = {name: picture(tmp_path / name) for name in ("b.png", "a.png", "c.bmp")}
    want = np.stack([pixels[name] for name in ("a.png", "b.png", "c.bmp")])
    np.testing.assert_array_equal(fed(opened(tmp_path, 1, 6, 8, 3)), want)
    np.testing.assert_array_equal(fed(opened(tmp_path, 1, 3, 6, 8)), want.transpose(0, 3, 1, 2))


def test_channels_may_be_reversed_or_gray(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    bgr = opened(tmp_path, 1, 3, 6, 8, channels="bgr")
    np.testing.assert_array_equal(fed(bgr)[0], pixels[:, :, ::-1].transpose(2, 0, 1))
    gray = fed(opened(tmp_path, 1, 1, 6, 8))
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray[0, 0] - luma).max() <= 1


def test_bytes_are_fed_to_a_model_that_wants_bytes(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    values = fed(opened(tmp_path, "n", "h", "w", 3, dtype="uint8"))
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values[0], pixels)


def test_size_of_the_model_is_taken_and_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 12, 16)
    calibration = opened(tmp_path, 1, 3, 6, 8)
    assert fed(calibration).shape == (1, 3, 6, 8)
    assert any("resized to 6 x 8 (height x width)" in s for s in calibration.account)


def test_resize_is_that_of_pillow_with_the_filter_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 12, 16)
    for name, number in (("bilinear", 2), ("bicubic", 3), ("nearest", 0)):
        want = np.asarray(Image.open(tmp_path / "a.png").resize((5, 4), number))
        got = fed(opened(tmp_path, 1, "h", "w", 3, resize=(4, 5), resample=name))
        np.testing.assert_array_equal(got[0], want)


def test_images_of_two_sizes_need_resize_where_the_model_leaves_it_open(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 6, 8)
    picture(tmp_path / "b.png", 7, 8)
    with pytest.raises(DataError, match=r"b\.png: not 6 x 8 .* give --resize"):
        fed(opened(tmp_path, 1, 3, "h", "w"))


def test_layout_that_cannot_be_told_must_be_given(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 3, 3)
    with pytest.raises(DataError, match="--layout nchw or nhwc"):
        opened(tmp_path, 1, 3, 3, 3)
    assert fed(opened(tmp_path, 1, 3, 3, 3, layout="nhwc")).shape == (1, 3, 3, 3)


def test_flat_input_takes_gray_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert fed(opened(tmp_path, "batch", 12, resize=(3, 4), channels="gray")).shape == (1, 12)


def test_sub_folders_are_the_classes(tmp_path: Path) -> None:
    for name in ("dog/2.png", "cat/1.png", "dog/deeper/3.png"):
        picture(tmp_path / name)
    labels = opened(tmp_path, 1, 3, 6, 8).labels
    assert labels is not None
    assert (labels.codes.tolist(), labels.names) == ([0, 1, 1], ("cat", "dog"))
    picture(tmp_path / "stray.png")
    assert opened(tmp_path, 1, 3, 6, 8).labels is None


def test_other_files_are_told_and_hidden_ones_ignored(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "notes.md").touch()
    (tmp_path / ".DS_Store").touch()
    assert any("not used: 1 files" in s for s in opened(tmp_path, 1, 3, 6, 8).account)


def test_toml_in_the_folder_prepares_the_images_and_options_win(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    (tmp_path / "nla.toml").write_text('mean = 127\nstd = [128.0]\nchannels = "bgr"\n')
    want = (pixels[:, :, ::-1].astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(fed(opened(tmp_path, 1, 6, 8, 3))[0], want)
    want = (pixels.astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(fed(opened(tmp_path, 1, 6, 8, 3, channels="rgb"))[0], want)


def test_digest_is_over_the_files_and_the_geometry(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    first = opened(tmp_path, 1, 3, 6, 8).digest
    assert opened(tmp_path, 1, 3, 6, 8).digest == first
    assert opened(tmp_path, 1, 3, 3, 4).digest != first
    picture(tmp_path / "a.png")
    assert opened(tmp_path, 1, 3, 6, 8).digest != first


def test_broken_image_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"b\.png: cannot be decoded"):
        fed(opened(tmp_path, 1, 3, 6, 8))


def test_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = bytearray(b"BM" + bytes(52))
    content[10], content[14], content[26], content[28] = 54, 40, 1, 24
    content[18:22] = content[22:26] = (60_000).to_bytes(4, "little")
    (tmp_path / "a.bmp").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"60000 x 60000 pixels|cannot be decoded"):
        fed(opened(tmp_path, 1, 3, 6, 8))
