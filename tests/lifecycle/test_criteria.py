"""Criteria: strict in what they take, complete in what they tell."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria


def test_defaults_of_the_sources() -> None:
    criteria = Criteria()
    assert criteria.dormancy_threshold == 0.025  # Sokar et al. 2023
    assert criteria.saturated_share == 0.99
    assert criteria.firing_threshold == 0.001
    assert criteria.confidence_alpha == 0.05


def test_toml_sets_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "criteria.toml"
    path.write_text(
        "dormancy_threshold = 0.1\npolysemantic_labels = 3\nlinear_rate = 1  # an integer will do\n"
    )
    criteria = Criteria.from_toml(path)
    assert criteria == Criteria(dormancy_threshold=0.1, polysemantic_labels=3, linear_rate=1.0)
    assert isinstance(criteria.linear_rate, float)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dormancy_treshold = 0.1", "did you mean dormancy_threshold"),
        ("xyzzy = 0.1", "no criterion 'xyzzy'; known are dead_tolerance_abs"),
        ("[criteria]\ndormancy_threshold = 0.1", "no criterion 'criteria'"),
        (
            "dormancy_threshold = true",
            r"dormancy_threshold = True is a bool; expected a number in \[0, 1\]",
        ),
        ("dormancy_threshold = '0.1'", "is a str"),
        (
            "dormancy_threshold = 1.5",
            r"dormancy_threshold = 1.5 is out of range; expected a number in \[0, 1\]",
        ),
        ("dormancy_threshold = nan", "out of range"),
        ("firing_threshold = inf", "out of range"),
        ("firing_threshold = 1" + "0" * 400, "out of range"),
        ("confidence_alpha = 0", r"expected a number in \(0, 1\)"),
        ("polysemantic_labels = 2.0", r"is a float; expected a whole number in \[2, inf\)"),
        ("polysemantic_labels = 1", "out of range"),
        ("dormancy_threshold 0.1", "not TOML"),
        ("dormancy_threshold = [[[[", "not TOML"),
    ],
)
def test_toml_is_refused_with_key_value_and_range(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told) as refused:
        Criteria.from_toml(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Criteria.from_toml(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        Criteria.from_toml(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not TOML"):
        Criteria.from_toml(tmp_path / "binary.toml")
    (tmp_path / "digits.toml").write_text("polysemantic_labels = " + "9" * 5_000)
    with pytest.raises(UsageError, match="not TOML"):
        Criteria.from_toml(tmp_path / "digits.toml")
    (tmp_path / "digits.toml").write_text("polysemantic_labels = " + "9" * 400)
    with pytest.raises(UsageError, match="out of range"):
        Criteria.from_toml(tmp_path / "digits.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="expected a short TOML file"):
        Criteria.from_toml(tmp_path / "huge.toml")


@pytest.mark.parametrize(
    "changes", [{"dormancy_threshold": -1}, {"dormancy_threshold": True}, {"nonsense": 1}]
)
def test_replace_is_as_strict(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Criteria().replace(**changes)


def test_replace_changes_one_and_keeps_the_rest() -> None:
    first = Criteria(saturated_share=0.9)
    assert first.replace(dormancy_threshold=0.1) == Criteria(saturated_share=0.9, dormancy_threshold=0.1)
    assert first.dormancy_threshold == 0.025


def test_survives_its_own_dictionary() -> None:
    criteria = Criteria(dormancy_threshold=0.1)
    assert Criteria.from_dict(json.loads(json.dumps(criteria.to_dict()))) == criteria


@pytest.mark.parametrize("field", dataclasses.fields(Criteria), ids=lambda field: field.name)
def test_every_criterion_says_what_it_is_and_takes_only_its_range(field: dataclasses.Field[Any]) -> None:
    about = Criteria().describe()[field.name]
    assert about["value"] == about["default"] == field.default
    assert all(isinstance(about[key], str) and about[key] for key in ("unit", "range", "meaning", "source"))
    low, high = (float(end) for end in about["range"][1:-1].split(","))
    outside = [low - 1] + ([high + 1] if math.isfinite(high) else [])
    outside += [low] if about["range"][0] == "(" else []
    outside += [high] if about["range"][-1] == ")" and math.isfinite(high) else []
    for value in outside:
        with pytest.raises(UsageError, match=field.name):
            Criteria(**{field.name: type(field.default)(value)})
