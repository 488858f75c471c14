"""Labels and masks: every form they come in, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

X = Input("x", "float32", ("batch", 2))
DATA = np.zeros((4, 2), np.float32)


def opened(labels: object = None, data: object = DATA, **options: object) -> Calibration:
    return open_calibration(data, [X], CalibrationOptions(labels=labels, **options))  # type: ignore[arg-type]


def found(labels: object, data: object = DATA) -> tuple[list[int], tuple[str, ...]]:
    got = opened(labels, data).labels
    assert got is not None
    return got.codes.tolist(), got.names


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        (np.array([7, 2, 7, 10]), [1, 0, 1, 2], ("2", "7", "10")),
        (np.array([-1, 1, 1, -1]), [0, 1, 1, 0], ("-1", "1")),
        (np.array(["cat", "dog", "ant", "dog"]), [1, 2, 0, 2], ("ant", "cat", "dog")),
        (np.array([b"b", b"a", b"b", b"b"]), [1, 0, 1, 1], ("a", "b")),
        (np.array([[1], [0], [1], [1]], np.uint8), [1, 0, 1, 1], ("0", "1")),
        (np.eye(3)[[2, 0, 1, 1]], [2, 0, 1, 1], ("0", "1", "2")),
        (np.array([1.0, 0.0, 2.0, 1.0]), [1, 0, 2, 1], ("0", "1", "2")),
        (np.array([True, False, True, True]), [1, 0, 1, 1], ("False", "True")),
    ],
)
def test_labels_are_coded_in_the_order_of_their_values(
    labels: np.ndarray, codes: list[int], names: tuple[str, ...]
) -> None:
    assert found(labels) == (codes, names)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.arange(3), "3 labels for 4 samples"),
        (np.array([0.5, 1, 2, 3]), "not whole numbers"),
        (np.array([np.nan, 1, 2, 3]), "not whole numbers"),
        (np.ones((4, 3)), r"shape \[4, 3\]"),
        (np.array([-1, 0, 1, 2]), "1 samples bear the label -1"),
        (np.array([object()] * 4), "never unpickles"),
    ],
)
def test_labels_that_are_none_are_refused(labels: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=told):
        opened(labels)


def test_labels_are_checked_against_all_samples_not_the_limited() -> None:
    got = opened(np.arange(4), limit=2).labels
    assert got is not None
    assert got.codes.tolist() == [0, 1]
    with pytest.raises(DataError, match="2 labels for 4 samples"):
        opened(np.arange(2), limit=2)


@pytest.mark.parametrize(
    ("name", "content", "codes"),
    [
        ("l.txt", "b\na\nb\nb\n", [1, 0, 1, 1]),
        ("l.csv", "label\n3\n1\n3\n3\n", [1, 0, 1, 1]),
        ("l.csv", '"a, b"\na\n"a, b"\n"a, b"', [1, 0, 1, 1]),
        ("l.tsv", "10\r\n9\r\n10\r\n10\r\n\r\n", [1, 0, 1, 1]),
    ],
)
def test_text_files_hold_one_label_a_line(name: str, content: str, codes: list[int], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert found(path)[0] == codes
    assert found(str(path))[0] == codes


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", b"0,1\n", "line 1 has several columns"),
        ("l.txt", b"a\n\nb\n", "line 2 holds no label"),
        ("l.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_text_files_that_are_no_labels_are_refused(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        opened(tmp_path / name)


def test_labels_come_from_npy_npz_and_hdf5(tmp_path: Path) -> None:
    codes = np.array([1, 0, 1, 1])
    np.save(tmp_path / "l.npy", codes)
    np.savez(tmp_path / "l.npz", ids=np.arange(4), labels=codes)
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["names"] = ["b", "a", "b", "b"]
    for name in ("l.npy", "l.npz", "l.h5"):
        assert found(tmp_path / name)[0] == codes.tolist()


def test_labels_by_the_name_of_an_array_in_the_data() -> None:
    assert found("digit", {"x": DATA, "digit": np.array([5, 3, 5, 5])})[0] == [1, 0, 1, 1]
    with pytest.raises(DataError, match="neither a file nor an array of the data, which has x, digit"):
        found("digits", {"x": DATA, "digit": np.arange(4)})


def test_labels_in_the_data_are_ignored_on_request() -> None:
    data = {"x": DATA, "y": np.arange(4)}
    assert opened(None, data).labels is not None
    assert opened("none", data).labels is None


@pytest.mark.parametrize(
    "y", [np.arange(3), np.array([-1, 0, 1, 2]), np.array([[1, 1], [0, 1], [1, 0], [0, 0]])]
)
def test_array_y_that_is_no_labels_is_told_and_not_used(y: np.ndarray) -> None:
    calibration = opened(None, {"x": DATA, "y": y})
    assert calibration.labels is None
    assert any("not used as labels: array 'y'" in s for s in calibration.account)


def test_mask_has_a_row_for_each_sample_and_holds_zeros_and_ones() -> None:
    mask = np.array([[1, 0], [0, 0], [1, 1], [0, 1]])
    for given in (mask, mask.astype(bool), mask.astype(np.float32)):
        got = opened(mask=given).mask(np.array([3, 1]))
        assert got is not None
        assert got.dtype == bool
        assert got.tolist() == [[False, True], [False, False]]


def test_mask_of_images_keeps_its_axes() -> None:
    got = opened(mask=np.ones((4, 5, 6), np.uint8)).mask(np.arange(2))
    assert got is not None
    assert got.shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.ones((3, 2)), "3 rows for 4 samples"),
        (np.ones(4), "a mask is \\[n, positions\\]"),
        (np.array([["a"]] * 4), "not <U1 values"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=told):
        opened(mask=mask)


def test_mask_with_another_value_is_refused_when_it_is_read() -> None:
    with pytest.raises(DataError, match="holds 2"):
        opened(mask=np.full((4, 2), 2)).mask(np.arange(1))


def test_mask_comes_from_a_file_or_an_array_by_name(tmp_path: Path) -> None:
    mask = np.array([[1, 0]] * 4)
    np.save(tmp_path / "m.npy", mask)
    data = {"x": DATA, "seen": mask}
    for given in (tmp_path / "m.npy", "seen"):
        got = opened(None, data, mask=given).mask(np.arange(4))
        np.testing.assert_array_equal(got, mask == 1)


def test_labels_and_mask_change_the_digest() -> None:
    digests = {
        opened().digest,
        opened(np.array([0, 1, 0, 1])).digest,
        opened(np.array([0, 1, 1, 1])).digest,
        opened(mask=np.ones((4, 2))).digest,
        opened(scale=2.0).digest,
    }
    assert len(digests) == 5
