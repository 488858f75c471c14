"""Text through a tokenizer.json: a sample a line, padding masked."""

from __future__ import annotations

import json
from pathlib import Path

import formats as writers
import numpy as np
import pytest

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError, UsageError
from nla.site import Input

LINES = ["a b c", "", "b", "   ", "c c c c z"]
IDS = {"a": 2, "b": 3, "c": 4}


def inputs(length: int | str = "sequence", *names: str) -> list[Input]:
    return [Input(n, "int64", ("batch", length)) for n in ("input_ids", *names)]


def opened(
    tmp_path: Path, declared: list[Input], text: str = "\n".join(LINES), **options: object
) -> Calibration:
    path = tmp_path / str(options.pop("name", "lines.txt"))
    path.write_text(text)
    tokenizer = writers.word_tokenizer(tmp_path, " ".join(IDS))
    return open_calibration(path, declared, CalibrationOptions(tokenizer=tokenizer, **options))


def test_each_line_that_is_not_blank_is_a_sample_padded_to_its_batch(tmp_path: Path) -> None:
    calibration = opened(tmp_path, inputs("sequence", "attention_mask", "token_type_ids", "position_ids"))
    assert calibration.samples == 3
    fed = calibration.feeds(np.array([0, 1]))
    assert fed["input_ids"].tolist() == [[2, 3, 4], [3, 1, 1]]
    assert fed["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert fed["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert fed["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert calibration.feeds(np.array([2]))["input_ids"].tolist() == [[4, 4, 4, 4, 0]]


def test_mask_leaves_padding_out_even_where_the_model_takes_none(tmp_path: Path) -> None:
    calibration = opened(tmp_path, inputs())
    mask = calibration.mask(np.array([1, 0]))
    assert mask is not None
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert any("may attend to it" in s for s in calibration.account)
    assert opened(tmp_path, inputs(), mask="none").mask(np.array([0])) is None


def test_fixed_length_of_the_model_pads_and_cuts(tmp_path: Path) -> None:
    calibration = opened(tmp_path, inputs(4))
    assert calibration.feeds(np.array([1, 2]))["input_ids"].tolist() == [[3, 1, 1, 1], [4, 4, 4, 4]]


def test_max_length_cuts(tmp_path: Path) -> None:
    assert opened(tmp_path, inputs(), max_length=2).feeds(np.array([0]))["input_ids"].tolist() == [[2, 3]]
    fixed = opened(tmp_path, inputs(4), max_length=2)
    assert fixed.feeds(np.array([0]))["input_ids"].tolist() == [[2, 3, 1, 1]]
    assert fixed.mask(np.array([0])).tolist() == [[True, True, False, False]]


def test_only_integer_input_is_the_ids_whatever_its_name_and_type(tmp_path: Path) -> None:
    fed = opened(tmp_path, [Input("tokens", "int32", ("n", "t"))]).feeds(np.array([0]))
    assert fed["tokens"].dtype == np.int32
    assert fed["tokens"].tolist() == [[2, 3, 4]]


def test_json_lines_may_have_labels(tmp_path: Path) -> None:
    records = [{"text": "a b", "label": "good"}, {"text": "c", "label": "bad"}]
    text = "\n".join(map(json.dumps, records))
    calibration = opened(tmp_path, inputs(), text, name="lines.jsonl")
    assert calibration.feeds(np.arange(2))["input_ids"].tolist() == [[2, 3], [4, 1]]
    assert calibration.labels is not None
    assert (calibration.labels.codes.tolist(), calibration.labels.names) == ([1, 0], ("bad", "good"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"}', "1 of 2 samples have no `label`"),
        ('{"text": 3}', "string `text`"),
        ('{"text": "a"', "not a line of JSON"),
        ("[" * 100_000, "not a line of JSON"),
        ('{"text": "a", "label": [1]}', "neither a string nor an integer"),
    ],
)
def test_json_lines_that_are_none_are_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        opened(tmp_path, inputs(), text, name="lines.jsonl")


def test_line_ends_across_blocks_are_found(tmp_path: Path) -> None:
    text = "\n".join("a" + " b" * (i % 7) for i in range(200_000))
    calibration = opened(tmp_path, inputs(), text)
    assert calibration.samples == 200_000
    for row in (0, 5, 123_456, 199_999):
        assert calibration.feeds(np.array([row]))["input_ids"].tolist() == [[2] + [3] * (row % 7)]


def test_byte_order_mark_and_carriage_returns_are_no_tokens(tmp_path: Path) -> None:
    calibration = opened(tmp_path, inputs(), "\ufeffa b\r\nc\r\n")
    assert calibration.feeds(np.array([0]))["input_ids"].tolist() == [[2, 3]]


def test_tokenizer_is_asked_for_and_checked(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a")
    with pytest.raises(UsageError, match="--tokenizer"):
        open_calibration(tmp_path / "lines.txt", inputs(), CalibrationOptions())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"not a readable tokenizer\.json"):
        open_calibration(tmp_path / "lines.txt", inputs(), CalibrationOptions(tokenizer=tmp_path))


def test_digest_is_over_text_and_tokenizer(tmp_path: Path) -> None:
    first = opened(tmp_path, inputs()).digest
    assert opened(tmp_path, inputs()).digest == first
    assert opened(tmp_path, inputs(), max_length=2).digest != first
    assert opened(tmp_path, inputs(), "a b d").digest != first
    assert opened(tmp_path, inputs(), limit=1).digest != first


def test_file_of_blank_lines_has_no_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        opened(tmp_path, inputs(), "\n \n")
