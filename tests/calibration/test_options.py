"""Options: what makes no sense is refused; the TOML beside the data is read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nla.calibration import CalibrationOptions, open_calibration
from nla.errors import DataError, UsageError
from nla.site import Input

X = Input("x", "float32", ("batch", 2))


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"synthetic": -1},
        {"max_length": 0},
        {"held_out": 1.0},
        {"held_out": -0.1},
        {"held_out": float("nan")},
        {"layout": "chwn"},
        {"channels": "cmyk"},
        {"resample": "magic"},
        {"resize": (0, 5)},
        {"std": 0},
        {"std": (1, 0)},
        {"mean": float("inf")},
        {"scale": float("nan")},
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options)).replace("_", "-")):
        CalibrationOptions(**options)  # type: ignore[arg-type]


def test_options_survive_the_way_to_another_process() -> None:
    options = CalibrationOptions(
        labels=np.arange(3),
        mask=Path("m.npy"),
        shard=(1, 4),
        mean=(1, 2, 3),
        rename={"x": "y"},
        tokenizer=Path("t"),
        constants=("sr",),
        resize=(2, 3),
    )
    values, arrays = options.pack()
    again = CalibrationOptions.unpack(json.loads(json.dumps(values)), arrays)
    np.testing.assert_array_equal(again.labels, options.labels)
    assert (again.mask, again.tokenizer) == ("m.npy", "t")
    for name in ("shard", "mean", "rename", "constants", "resize", "held_out", "cast", "std"):
        assert getattr(again, name) == getattr(options, name)


def with_toml(tmp_path: Path, text: str) -> Path:
    np.savez(tmp_path / "d.npz", a=np.full((2, 2), 10, np.float32), b=np.full((2, 2), 30, np.float32))
    (tmp_path / "d.npz.toml").write_text(text)
    return tmp_path / "d.npz"


def test_toml_beside_a_file_renames_and_scales(tmp_path: Path) -> None:
    path = with_toml(tmp_path, 'scale = 2\nmean = [1]\n[input]\nx = "b"\n')
    feeds = open_calibration(path, [X], CalibrationOptions()).feeds(np.arange(2))
    assert feeds["x"].tolist() == [[59, 59]] * 2
    feeds = open_calibration(path, [X], CalibrationOptions(rename={"x": "a"}, scale=1.0)).feeds(np.arange(2))
    assert feeds["x"].tolist() == [[9, 9]] * 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sclae = 2", "unknown key 'sclae'; known are resize"),
        ('labels = "/etc/passwd"', "unknown key 'labels'"),
        ("scale = true", "not of the kind expected"),
        ("resize = [1.5, 2]", "not of the kind expected"),
        ("mean = []", "not of the kind expected"),
        ("std = 0", "std 0: must be finite and not zero"),
        ("scale = nan", "scale nan: must be finite"),
        ("scale = 1\nscale = 2", "not valid TOML"),
        ("scale = " + "[" * 10_000, "not valid TOML"),
        ("scale = " + "9" * 5_000, "not valid TOML"),
        ("#" * 70_000, "at most 16384"),
    ],
)
def test_toml_that_is_not_understood_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        open_calibration(with_toml(tmp_path, text), [X], CalibrationOptions(rename={"x": "a"}))
