"""Properties in VNN-LIB: the box around all inputs that they allow, and files that are broken or hostile."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nla.certificates import vnnlib_files
from nla.certificates.domain_files import read
from nla.errors import UsageError

DECLARED = "(declare-const X_0 Real)\n(declare-const X_1 Real) ; the second\n(declare-const Y_0 Real)\n"
BOX = "(assert (<= X_0 0.5)) (assert (>= X_0 -0.5)) (assert (>= X_1 (- 2))) (assert (<= X_1 3e-1))"
TWO = {"x": (1, 2)}


def _read(tmp_path, text, shapes=TWO):
    path = tmp_path / "prop.vnnlib"
    path.write_text(text)
    return read(path, shapes)


def test_bounds_become_a_box_and_outputs_are_said_to_be_left_out(tmp_path):
    stated = _read(tmp_path, f"; a property\n{DECLARED}{BOX}(assert (>= Y_0 3.99))")["x"]
    assert stated.box.lo.tolist() == [[-0.5, -2]]
    assert stated.box.hi.tolist() == [[0.5, 0.3]]
    assert stated.sentence().endswith("prop.vnnlib (claims about outputs left out), -2 to 0.5")


@pytest.mark.parametrize(
    "claim",
    [
        "(assert (and (<= X_0 0.5) (>= X_0 -0.5) (>= X_1 -2) (<= X_1 0.3)))",
        "(assert (and (>= 0.5 X_0) (<= -0.5 X_0) (> X_1 -2) (< X_1 0.3)))(assert (<= X_0 7))",
        "(assert (= X_1 0.3))(assert (<= -0.5 X_0))(assert (<= X_0 .5))",
    ],
)
def test_forms_of_the_same_bounds(claim, tmp_path):
    box = _read(tmp_path, DECLARED + claim)["x"].box
    assert box.lo.tolist() == [[-0.5, 0.3 if "=" in claim.split()[1] and "(= " in claim else -2]]
    assert box.hi.tolist() == [[0.5, 0.3]]


def test_of_alternatives_the_box_around_them_is_taken_and_said(tmp_path):
    one = "(and (<= X_0 0.5) (>= X_0 0.25) (<= X_1 1) (>= X_1 0) (<= Y_0 0))"
    two = "(and (<= X_0 -0.5) (>= X_0 -0.75) (<= X_1 2) (>= X_1 1.5))"
    stated = _read(tmp_path, f"{DECLARED}(assert (or {one} {two}))(assert (<= X_1 1.75))")["x"]
    assert stated.box.lo.tolist() == [[-0.75, 0]]
    assert stated.box.hi.tolist() == [[0.5, 1.75]]
    assert "(the box around 2 alternatives, claims about outputs left out)" in stated.sentence()


def test_what_one_alternative_leaves_open_is_open(tmp_path):
    with pytest.raises(UsageError, match="X_1 has no upper bound"):
        _read(tmp_path, f"{DECLARED}(assert (>= X_1 0))(assert (or (<= X_1 1) (<= Y_0 1))){BOX[:44]}")


def test_what_is_said_of_two_inputs_together_is_left_out(tmp_path):
    stated = _read(tmp_path, f"{DECLARED}{BOX}(assert (<= X_0 X_1))(assert (<= (+ X_0 X_1) 0.1))")["x"]
    assert stated.box.hi.tolist() == [[0.5, 0.3]]
    assert "relations between inputs left out" in stated.sentence()


def test_inputs_are_numbered_one_after_the_other(tmp_path):
    found = _read(tmp_path, f"{DECLARED}{BOX}", {"a": (1,), "b": (1, 1)})
    assert found["a"].box.lo.tolist() == [-0.5]
    assert found["b"].box.hi.tolist() == [[0.3]]


BROKEN = {
    "(assert (<= X_0 nan))": "'nan' is no variable",
    "(assert (<= X_0 1e999))": "no finite number",
    "(assert (<= X_0 0x10))": "'0x10' is no variable",
    "(assert (<= X_0))": "no comparison",
    "(assert (not (<= X_0 1)))": "no comparison, 'and' or 'or'",
    "(assert (or))": "no comparison, 'and' or 'or'",
    "(assert (<= 1 2))": "compares no variable",
    "(assert (<= X_0 -9))": r"is empty: the lower end is above the upper: -0.5 to -9",
    "(assert (<= X_2 1))": "speaks of X_0 to X_2; the model's inputs have 2 elements",
    "(assert (<= Z_0 1))": "'Z_0' is no variable",
    "(define-fun f () Real 1)": "neither declare-const nor assert",
    "(vnnlib-version <2.0>)": "VNN-LIB 2 is not read",
    "(assert (<= X_0 1)": "ends within 1 open brackets",
    ")": "closes that was not opened",
    "model": "outside of brackets",
    "(assert " + "(and " * 90 + ")" * 91: "nested more than 64 deep",
    "(" * 200_000: "nested more than 64 deep",
    "(assert (<= X_0 " + "9" * 300_000 + "a))": "is no variable",
    "(assert (<= X_0 " + "9" * 300_000 + "))": "no finite number",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:30])
def test_a_broken_file_is_refused_in_one_line(text, tmp_path):
    begun = time.monotonic()
    with pytest.raises(UsageError, match=BROKEN[text]) as refused:
        _read(tmp_path, f"{DECLARED}{BOX}{text}")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "speaks of no X; the model's inputs have 2 elements"),
        (DECLARED, "X_0 has no lower bound"),
        ("(assert (<= X_1 1))", "does not speak of X_0"),
        (f"{DECLARED}(declare-const X_2 Real){BOX}", "X_0 to X_2"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text, why, tmp_path):
    with pytest.raises(UsageError, match=why):
        _read(tmp_path, text)


def test_what_is_no_text_too_large_or_packed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "p.vnnlib").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read as a domain"):
        read(tmp_path / "p.vnnlib", TWO)
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "none.vnnlib", TWO)
    (tmp_path / "p.vnnlib.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UsageError, match="gunzip"):
        read(tmp_path / "p.vnnlib.gz", TWO)
    monkeypatch.setattr(vnnlib_files, "_LARGEST", 10)
    with pytest.raises(UsageError, match="more than 0 MiB"):
        _read(tmp_path, DECLARED)


def test_a_property_of_an_image_is_read_in_seconds(tmp_path):
    size = 20_000
    text = "".join(
        f"(declare-const X_{k} Real)(assert (>= X_{k} 0.1))(assert (<= X_{k} 0.9))\n" for k in range(size)
    )
    begun = time.monotonic()
    box = _read(tmp_path, text, {"x": (size,)})["x"].box
    assert np.ptp(box.lo) == np.ptp(box.hi) == 0
    assert time.monotonic() - begun < 10
