"""Safetensors checkpoints whose folder, index or config is at fault: refused in one line that says what to do."""

from __future__ import annotations

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from safetensors_folders import (
    CONFIG,
    SHARDS,
    TENSORS,
    make_folder,
    make_shards,
    refused,
    weight_map,
    write_index,
)

from nla.checkpoint.safetensors_source import open_safetensors
from nla.errors import ModelError


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "checkpoint")


@pytest.fixture
def shards(tmp_path):
    return make_shards(tmp_path / "shards")


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        (name, "is no plain name of a .safetensors file in its folder")
        for name in (
            *("../model.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "a\\b.safetensors"),
            *(
                "C:x.safetensors",
                "x\0.safetensors",
                "x\n.safetensors",
                "",
                ".",
                "..",
                "config.json",
                7,
                None,
                ["x"],
            ),
        )
    ],
)
def test_shard_names_that_are_no_plain_names(shards, shard, words):
    write_index(shards, weight_map(shards) | {"mask": shard})
    refused(shards, f"model.safetensors.index.json: tensor 'mask': '.*' {words}")


def test_a_shard_that_is_missing_is_named(shards):
    (shards / SHARDS[1]).unlink()
    refused(shards, f"1 of 2 shards is missing: {SHARDS[1]}; put them beside the index")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"absent": SHARDS[0]}, f"tensor 'absent' is not in {SHARDS[0]}, where the index says it is"),
        ({"mask": SHARDS[0]}, f"tensor 'mask' is in {SHARDS[1]}, and the index says {SHARDS[0]}"),
    ],
)
def test_an_index_that_does_not_fit_its_shards(shards, change, words):
    write_index(shards, weight_map(shards) | change)
    refused(shards, words)


def test_a_tensor_in_two_shards_is_refused(shards):
    save_file({"mask": TENSORS["mask"]} | {n: TENSORS[n] for n in list(TENSORS)[:3]}, shards / SHARDS[0])
    refused(shards, f"tensor 'mask' is both in {SHARDS[0]} and in {SHARDS[1]}")


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("", "an empty file, where a JSON object is expected"),
        ("[]", "its JSON is no object but a list"),
        ("{}", "it has no weight_map"),
        ('{"weight_map": []}', "it has no weight_map"),
        ('{"weight_map": {}}', "it has no weight_map"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "the key 'a' comes twice"),
        ('{"weight_map"', "not valid JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_an_index_that_is_none(shards, index, words):
    (shards / "model.safetensors.index.json").write_text(index)
    refused(shards, words)


def test_one_shard_of_several_is_no_checkpoint(shards):
    refused(shards / SHARDS[0], "shard 1 of 2, a part of a checkpoint; give the folder, or its index")
    (shards / "model.safetensors.index.json").unlink()
    refused(shards, "it holds shards .* and no model.safetensors.index.json")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"", "config.json: an empty file"),
        (b"null", "its JSON is no object but null"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1e999}', "the number 1e999 is beyond what a double holds"),
        (b'{"a": 1, "a": 1}', "the key 'a' comes twice"),
        (b'{"a": {"\\u001b": 1, "\\u001b": 1}}', r"the key '\\x1b' comes twice"),
        (b'{"a": "\\udc00"}', "half a surrogate pair"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": ' + b"[" * 99_999, "nested too deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number of 5,000 digits"),
        (
            b'{"a": "' + b"x" * (16 << 20) + b'"}',
            r"config.json: it has 16,777,225 bytes, and at most 16,777,216",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_config_that_is_none(folder, config, words):
    (folder / "config.json").write_bytes(config)
    refused(folder, words)
    refused(folder / "model.safetensors", words)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling", "circle"])
def test_files_that_are_no_regular_files_do_not_hang(folder, name, kind):
    (folder / name).unlink()
    if kind == "fifo":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("absent" if kind == "dangling" else name)
    words = {
        "fifo": "not a regular file",
        "folder": "a folder",
        "dangling": "no such file",
        "circle": "circle",
    }
    refused(folder, f"{name}: .*{words[kind]}")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "holds no model.safetensors"),
        (["pytorch_model.bin"], "no model.safetensors but pytorch_model.bin: PyTorch pickles, .* convert"),
        (["pytorch_model-00001-of-00002.bin"], "PyTorch pickles, which nla never loads"),
        (["tf_model.h5"], "weights of TensorFlow or Flax"),
        (["m.gguf"], "a GGUF file"),
        (["adapter_model.safetensors"], "an adapter .* merge the two first"),
        (["0_Transformer/model.safetensors"], "lies below: give .*0_Transformer$"),
        (["snapshots/abc/model.safetensors.index.json"], "lies below: give .*snapshots/abc$"),
        (["a.onnx"], "a folder, not a model file; it holds a.onnx"),
        (
            ["a.safetensors", "b.safetensors"],
            r"several checkpoints \(a.safetensors, b.safetensors\).*name the file",
        ),
    ],
)
def test_folders_that_hold_no_checkpoint(tmp_path, files, words):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    refused(tmp_path, words)


@pytest.mark.parametrize(
    "path", ["absent/model.safetensors", "absent.safetensors", "x" * 300 + ".safetensors", "a\0b"]
)
def test_paths_that_lead_nowhere(tmp_path, path):
    refused(f"{tmp_path}/{path}", "no such|cannot be opened|NUL")


def test_files_without_a_tensor(tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    refused(tmp_path, "it holds no tensors")


def test_names_are_escaped_in_messages(shards):
    write_index(shards, weight_map(shards) | {"\x1b[31m\n": SHARDS[0]})
    refused(shards, r"tensor '\\x1b\[31m\\n' is not in")


@pytest.mark.parametrize(
    ("config", "tensors", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, {}, r"quantised \(gptq, says"),
        ({"quantization_config": {"quant_method": "awq"}}, {}, r"quantised \(awq"),
        ({"quantization_config": {"quant_method": "fp8"}}, {}, r"quantised \(fp8"),
        ({"quantization_config": {"load_in_8bit": True}}, {}, r"bitsandbytes, load_in_8bit"),
        ({"text_config": {"quantization_config": {"quant_method": "mxfp4"}}}, {}, r"quantised \(mxfp4"),
        ({"compression_config": {"format": "int-quantized"}}, {}, "int-quantized, says 'compression_config'"),
        ({"quantization": {"bits": 4, "group_size": 64}}, {}, "says 'quantization'"),
        ({"quantization_config": {"quant_method": "\x1b[31m"}}, {}, r"\(\\x1b\[31m"),
        ({}, {"h.0.qweight": np.zeros(3, np.int32)}, "GPTQ or AWQ, by tensor 'h.0.qweight'"),
        ({}, {"h.0.SCB": np.zeros(3, np.float32)}, "bitsandbytes int8"),
        ({}, {"h.0.weight_scale_inv": np.zeros(3, np.float32)}, "fp8 in blocks"),
        ({}, {"a_blocks": np.zeros(3, np.uint8), "a_scales": np.zeros(3, np.uint8)}, "mxfp4"),
        ({}, {"w8": np.zeros(3, ml_dtypes.float8_e4m3fn)}, "tensor 'w8' is F8_E4M3"),
        ({}, {"w8": np.zeros(3, ml_dtypes.float8_e5m2)}, "tensor 'w8' is F8_E5M2"),
    ],
)
def test_quantised_checkpoints_are_refused_by_name(folder, config, tensors, words):
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(TENSORS | tensors, folder / "model.safetensors")
    refused(folder, words)


@pytest.mark.parametrize("config", [{"quantization_config": None}, {"quantization_config": {}}])
def test_a_config_that_says_not_quantised(folder, config):
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    assert set(open_safetensors(folder).tensors) == set(TENSORS)


@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_a_file_that_changes_after_opening_is_noticed(folder, change):
    source = open_safetensors(folder)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    if change != "gone":
        file.write_bytes(content[:-9] if change == "shorter" else content + b"x")
    for read in (lambda: source.array("mask"), lambda: source.array("empty"), source.external_files[0].map):
        with pytest.raises(ModelError, match=r"changed while|no such file"):
            read()
