"""What a folder in Hugging Face layout says of data: its tokenizer, its lengths, its special tokens, its pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import formats as writers
import numpy as np
import pytest
from PIL import Image

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.calibration.processor import read_processor
from nla.errors import DataError, UsageError
from nla.site import Input

BERT = {"model_type": "bert", "vocab_size": 10, "max_position_embeddings": 4, "pad_token_id": 1}
TOKENS = [Input("input_ids", "int64", ("batch", "sequence"))]
MASKED = [*TOKENS, Input("attention_mask", "int64", ("batch", "sequence"))]
PIXELS = [Input("pixel_values", "float32", ("batch", 3, "height", "width"))]


def layout(folder: Path, config: dict[str, Any] | None = None, **files: Any) -> Path:
    """A folder with config.json and further files of JSON, by the name without its end."""
    folder.mkdir(exist_ok=True)
    for name, content in {"config": config, **files}.items():
        if content is not None:
            (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def with_tokenizer(folder: Path, config: dict[str, Any], longest: int | None = None, **files: Any) -> Path:
    """Likewise, with a tokenizer of the words a (2), b (3) and c (4)."""
    layout(folder, config, **files)
    path = writers.word_tokenizer(folder, "a b c")
    content = json.loads(path.read_text())
    if longest is not None:
        content["truncation"] = {
            **{"direction": "Right", "max_length": longest},
            **{"strategy": "LongestFirst", "stride": 0},
        }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def text(folder: Path, line: str, **options: Any) -> Calibration:
    path = folder / "lines.txt"
    path.write_text(line)
    return open_calibration(path, MASKED, CalibrationOptions(processor=folder, **options))


def ids_of(calibration: Calibration) -> list[list[int]]:
    ids: list[list[int]] = calibration.feeds(np.arange(calibration.samples))["input_ids"].tolist()
    return ids


def arrays(data: dict[str, Any], inputs: list[Input], folder: Path | None, **options: Any) -> Calibration:
    given = {name: np.asarray(value) for name, value in data.items()}
    return open_calibration(given, inputs, CalibrationOptions(processor=folder, **options))


# --- text


def test_text_goes_through_the_tokenizer_of_the_folder_and_that_is_said(tmp_path: Path) -> None:
    calibration = text(with_tokenizer(tmp_path, BERT), "a b")
    assert ids_of(calibration) == [[2, 3]]
    assert any("text is tokenised with" in note and "tokenizer.json" in note for note in calibration.account)


def test_a_tokenizer_that_is_named_comes_first(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    named = writers.word_tokenizer(other, "b a")
    calibration = text(with_tokenizer(tmp_path, BERT), "a b", tokenizer=named)
    assert ids_of(calibration) == [[3, 2]]
    assert not any("text is tokenised with" in note for note in calibration.account)


@pytest.mark.parametrize(
    ("config", "truncation", "options", "longest"),
    [
        ({}, None, {}, 9),
        (BERT, None, {}, 4),
        (BERT, 3, {}, 3),
        (BERT, 8, {}, 4),
        ({}, 3, {}, 3),
        (BERT, 3, {"max_length": 2}, 2),
        (BERT, 2, {"max_length": 4}, 4),
        ({"model_type": "gpt2", "n_positions": 5}, None, {}, 5),
        # Its table of positions begins with two rows for the ids up to padding.
        ({**BERT, "model_type": "roberta", "max_position_embeddings": 6}, None, {}, 4),
    ],
)
def test_text_is_cut_as_asked_for_or_as_the_files_say(
    tmp_path: Path, config: dict[str, Any], truncation: int | None, options: dict[str, int], longest: int
) -> None:
    calibration = text(with_tokenizer(tmp_path, config, truncation), "a " * 9, **options)
    assert ids_of(calibration) == [[2] * longest]


def test_more_tokens_than_a_model_has_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max-length 5: the model has 4 positions"):
        text(with_tokenizer(tmp_path, BERT), "a", max_length=5)


def test_positions_that_are_computed_have_no_end(tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path, {**BERT, "model_type": "llama"})
    assert ids_of(text(folder, "a " * 9, max_length=8)) == [[2] * 8]


def test_text_is_padded_with_the_id_that_the_model_takes_for_padding(tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path, {**BERT, "pad_token_id": 7})
    assert ids_of(text(folder, "a b\nc")) == [[2, 3], [4, 7]]


def test_text_without_a_tokenizer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no tokenizer\.json"):
        text(layout(tmp_path, BERT), "a")


# --- token ids


def test_an_id_outside_of_the_vocabulary_is_named(tmp_path: Path) -> None:
    calibration = arrays({"input_ids": [[1, 2], [3, 10]]}, TOKENS, layout(tmp_path, BERT))
    assert calibration.feeds(np.array([0]))["input_ids"].tolist() == [[1, 2]]
    with pytest.raises(DataError, match="sample 1 holds the token id 10, and the model's vocabulary has 10"):
        calibration.feeds(np.array([0, 1]))
    negative = arrays({"input_ids": [[1, -100]]}, TOKENS, tmp_path)
    with pytest.raises(DataError, match="the token id -100"):
        negative.feeds(np.array([0]))


def test_a_sequence_longer_than_the_table_of_positions_is_named(tmp_path: Path) -> None:
    calibration = arrays({"input_ids": [[1] * 5]}, TOKENS, layout(tmp_path, BERT))
    with pytest.raises(DataError, match="sequences of 5 tokens, and the model has 4 positions"):
        calibration.feeds(np.array([0]))


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ({"input_ids": [[2, 3], [2, 1]]}, {}, True),
        ({"input_ids": [[2, 3], [2, 4]]}, {}, False),
        ({"input_ids": [[2, 3], [2, 1]], "attention_mask": [[1, 1], [1, 0]]}, {}, False),
        ({"input_ids": [[2, 3], [2, 1]]}, {"mask": "none"}, False),
    ],
)
def test_the_id_of_padding_without_a_mask_is_said_and_not_guessed(
    tmp_path: Path, data: dict[str, Any], options: dict[str, Any], said: bool
) -> None:
    calibration = arrays(data, MASKED, layout(tmp_path, BERT), **options)
    assert any("pad_token_id" in note for note in calibration.account) is said
    if said:
        assert calibration.mask(np.arange(2)) is None
        assert calibration.feeds(np.arange(2))["attention_mask"].tolist() == [[1, 1], [1, 1]]


# --- the token that begins a sequence


def counted(calibration: Calibration) -> list[list[int]]:
    mask = calibration.mask(np.arange(calibration.samples))
    assert mask is not None
    return mask.astype(int).tolist()


def test_the_first_token_is_not_counted_where_it_begins_sequences_and_is_attended_to(tmp_path: Path) -> None:
    folder = layout(tmp_path, {**BERT, "bos_token_id": 5})
    ids = [[5, 2, 5], [2, 5, 2], [1, 5, 2], [5, 2, 1]]
    mask = [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 0]]
    wanted = [[0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 0]]
    calibration = arrays({"input_ids": ids, "attention_mask": mask}, MASKED, folder, exclude_bos=True)
    assert counted(calibration) == wanted
    assert calibration.feeds(np.arange(4))["attention_mask"].tolist() == mask
    assert any("is not counted where its id is 5" in note for note in calibration.account)


def test_without_a_mask_every_other_position_counts(tmp_path: Path) -> None:
    folder = layout(tmp_path, {**BERT, "bos_token_id": 5})
    calibration = arrays({"input_ids": [[5, 2, 2], [2, 2, 5]]}, MASKED, folder, exclude_bos=True)
    assert counted(calibration) == [[0, 1, 1], [1, 1, 1]]
    assert calibration.feeds(np.arange(2))["attention_mask"].tolist() == [[1] * 3] * 2


def test_excluding_it_is_another_set_of_data(tmp_path: Path) -> None:
    folder = layout(tmp_path, {**BERT, "bos_token_id": 5})
    data = {"input_ids": [[5, 2], [2, 2]]}
    digests = {arrays(data, MASKED, folder, exclude_bos=told).digest for told in (False, True)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("files", "bos"),
    [
        ({"config": {"bos_token_id": 3}}, 3),
        ({"config": {"bos_token_id": None}, "generation_config": {"bos_token_id": 4}}, 4),
        ({"config": {}, "tokenizer_config": {"bos_token": "<s>", "cls_token": "[CLS]"}}, 6),
        ({"config": {}, "tokenizer_config": {"bos_token": None, "cls_token": {"content": "[CLS]"}}}, 7),
        ({"config": {"bos_token_id": True}}, None),
        ({"config": {}}, None),
    ],
)
def test_the_token_that_begins_sequences_is_found_where_the_files_name_it(
    tmp_path: Path, files: dict[str, Any], bos: int | None
) -> None:
    tokens = [{"id": 6, "content": "<s>"}, {"id": 7, "content": "[CLS]"}]
    folder = layout(tmp_path, tokenizer={"added_tokens": tokens}, **files)
    assert read_processor(folder).bos == bos


def test_it_is_excluded_only_where_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--exclude-bos: .* names no bos_token_id"):
        arrays({"input_ids": [[1, 2]]}, TOKENS, layout(tmp_path, BERT), exclude_bos=True)
    with pytest.raises(UsageError, match=r"--exclude-bos: .*--processor"):
        arrays({"input_ids": [[1, 2]]}, TOKENS, None, exclude_bos=True)
    with pytest.raises(UsageError, match="no input of token ids"):
        arrays({"x": [[1.0, 2.0]]}, [Input("x", "float32", ("n", 2))], tmp_path, exclude_bos=True)


# --- images

VIT = {
    **{"do_resize": True, "size": {"height": 4, "width": 6}, "resample": 0},
    **{"do_rescale": True, "rescale_factor": 1 / 255},
    **{"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]},
}


def image(folder: Path, options: dict[str, Any], inputs: list[Input] = PIXELS) -> Calibration:
    pictures = folder / "pictures"
    pictures.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(pictures / "a.png")
    return open_calibration(pictures, inputs, CalibrationOptions(processor=folder, **options))


def test_images_are_prepared_as_the_folder_says_and_that_is_said(tmp_path: Path) -> None:
    calibration = image(layout(tmp_path, preprocessor_config=VIT), {})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    wanted = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.2]
    got = calibration.feeds(np.array([0]))["pixel_values"]
    np.testing.assert_allclose(got[0], wanted.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert any("preprocessor_config.json says: resize [4, 6]" in note for note in calibration.account)


def test_what_is_asked_for_comes_before_what_the_folder_says(tmp_path: Path) -> None:
    calibration = image(layout(tmp_path, preprocessor_config=VIT), {"scale": 2.0})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        calibration.feeds(np.array([0]))["pixel_values"][0], 2.0 * pixels.transpose(2, 0, 1)
    )


def test_arrays_are_taken_for_prepared(tmp_path: Path) -> None:
    folder = layout(tmp_path, preprocessor_config=VIT)
    pixels = np.ones((1, 3, 4, 6), np.float32)
    assert arrays({"pixel_values": pixels}, PIXELS, folder).feeds(np.array([0]))["pixel_values"].max() == 1


@pytest.mark.parametrize(
    ("size", "wanted", "cropped"),
    [
        ({"size": 8}, (8, 8), False),
        ({"size": {"shortest_edge": 8}}, (8, 8), True),
        (
            {"size": {"shortest_edge": 9}, "do_center_crop": True, "crop_size": {"height": 6, "width": 5}},
            (6, 5),
            True,
        ),
        ({"size": {"shortest_edge": 8}, "crop_pct": 0.875}, (8, 8), True),
        ({"do_resize": False, "size": 8}, (4, 6), False),
    ],
)
def test_sizes_of_every_spelling_are_read_and_cropping_is_said_to_be_left_out(
    tmp_path: Path, size: dict[str, Any], wanted: tuple[int, int], cropped: bool
) -> None:
    calibration = image(layout(tmp_path, preprocessor_config=size), {})
    assert calibration.feeds(np.array([0]))["pixel_values"].shape == (1, 3, *wanted)
    assert any("nothing is cropped" in note for note in calibration.account) is cropped


def test_the_size_of_the_model_s_input_comes_first(tmp_path: Path) -> None:
    fixed = [Input("pixel_values", "float32", ("batch", 3, 2, 2))]
    calibration = image(layout(tmp_path, preprocessor_config=VIT), {}, fixed)
    assert calibration.feeds(np.array([0]))["pixel_values"].shape == (1, 3, 2, 2)


# --- broken files


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": "{"}, r"config\.json: not valid JSON"),
        ({"config": "[]"}, r"config\.json: not a JSON object"),
        ({"config": "[" * 100_000}, r"config\.json: not valid JSON"),
        ({"preprocessor_config": '"x"'}, "not a JSON object"),
        ({"preprocessor_config": {"size": "large"}}, "a size of large"),
        ({"preprocessor_config": {"size": {"height": 1 << 40, "width": 2}}}, "a size of"),
        ({"preprocessor_config": {"size": 99_999}}, "resize"),
        ({"preprocessor_config": {"rescale_factor": "1/255"}}, "rescale_factor is 1/255, expected a number"),
        ({"preprocessor_config": {"image_std": [0.0, 1.0, 1.0]}}, "std"),
        ({"preprocessor_config": {"image_mean": {"a": 1}}}, "image_mean"),
        ({"preprocessor_config": {"size": 8, "resample": [3]}}, "resample is"),
    ],
)
def test_broken_files_are_one_clear_line(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        image(layout(tmp_path, **files), {})
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder that holds"):
        arrays({"input_ids": [[1]]}, TOKENS, tmp_path / "nowhere")
