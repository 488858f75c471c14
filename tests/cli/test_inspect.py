"""`nla inspect`: what it hands to the API, what it writes, what it refuses before any work is done."""

from __future__ import annotations

import inspect
import json

import pytest
from inspections import inspection, site_result

from nla.errors import ModelError
from nla.lifecycle.criteria import Criteria


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    return path


def test_every_option_reaches_the_api_under_its_own_name(nla, fake_api, model):
    done = nla(
        *("inspect", model, "--data", "d.npz", "--labels", "y", "--mask", "m.npy", "--input", "x=images"),
        *(
            "--limit",
            100,
            "--held-out",
            "20%",
            "--shard",
            "3/16",
            "--seed",
            7,
            "--criterion",
            "dormancy_threshold=0.1",
        ),
        *("--set", "state=0", "--set", "sr=16000", "--include", "linear", "--initial", "init.onnx"),
        *(
            "--certify",
            "--domain",
            "box",
            "--box",
            "0:1",
            "--box",
            "x=0:2",
            "--ranges",
            "r.npz",
            "--time-budget",
            "2m",
        ),
        *("--batch-size", 32, "--providers", "CUDAExecutionProvider,CPUExecutionProvider", "--threads", 2),
        *("--kernel", "numpy", "--effective-rank", "exact", "--histogram", "exact", "--pre-activations"),
        *("--tokenizer", "tokenizer.json", "--max-length", 128, "--resize", "240x320", "--scale", "1/4"),
        *(
            "--mean",
            "0.5",
            "--std",
            "0.1,0.2,0.3",
            "--layout",
            "NHWC",
            "--channels",
            "bgr",
            "--resample",
            "nearest",
        ),
        *(
            "--graph",
            "graph.onnx",
            "--layers",
            "a,b",
            "--activation",
            "relu",
            "--processor",
            "folder",
            "--exclude-bos",
        ),
        *("--memory-limit", "4GB", "--time-limit", "10m", "--in-process", "--verbose", "--quiet"),
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    given = fake_api.given("inspect")
    assert given.pop("progress") is None
    assert given == {
        "model": str(model),
        "data": "d.npz",
        "labels": "y",
        "mask": "m.npy",
        "output": None,
        "inputs": {"x": "images"},
        "limit": 100,
        "held_out": 0.2,
        "shard": (3, 16),
        "synthetic": None,
        "seed": 7,
        "criteria": Criteria(dormancy_threshold=0.1),
        "constants": {"state": 0, "sr": 16000},
        "include": ("linear",),
        "initial": "init.onnx",
        "certify": True,
        "domain": "box",
        "box": ("0:1", "x=0:2"),
        "ranges": "r.npz",
        "margin": 0.0,
        "time_budget": 120.0,
        "batch_size": 32,
        "providers": ("CUDAExecutionProvider", "CPUExecutionProvider"),
        "threads": 2,
        "kernel": "numpy",
        "effective_rank": "exact",
        "histogram": "exact",
        "pre_activations": True,
        "tokenizer": "tokenizer.json",
        "max_length": 128,
        "exclude_bos": True,
        "processor": "folder",
        "graph": "graph.onnx",
        "layers": "a,b",
        "activation": "relu",
        "image": {
            "resize": (240, 320),
            "scale": 0.25,
            "mean": (0.5,),
            "std": (0.1, 0.2, 0.3),
            "layout": "nhwc",
            "channels": "bgr",
            "resample": "nearest",
        },
        "memory_limit": 4_000_000_000,
        "time_limit": 600.0,
        "in_process": True,
        "verbose": True,
    }


def test_the_defaults_of_the_command_line_are_those_of_python(nla, fake_api, model):
    nla("inspect", model, "--data", "d.npz")
    given = fake_api.given("inspect")
    empty_is_none = ("constants", "inputs", "image")
    for name, parameter in inspect.signature(fake_api.inspect).parameters.items():
        if name not in ("model", "data", "criteria"):
            assert (given[name] or None if name in empty_is_none else given[name]) == parameter.default, name
    assert given["criteria"] == Criteria()


def test_the_table_and_the_evidence_are_printed(nla, fake_api, model):
    done = nla("inspect", model, "--data", "d.npz")
    assert done.code == 0
    assert "dense Relu" in done.out
    assert "2 of 4 neurons are dead (50 %)" in done.out


def test_json_on_standard_output_is_alone_there(nla, fake_api, model):
    done = nla("inspect", model, "--data", "d.npz", "--json", "-")
    document = json.loads(done.out)
    assert document["summary"]["dead"] == 2
    assert done.out.endswith("}\n")


def test_json_holds_a_row_for_each_neuron_where_asked(nla, fake_api, model, tmp_path):
    plain, rich = (
        json.loads(nla("inspect", model, "--data", "d.npz", "--json", "-", *more).out)
        for more in ((), ("--neurons",))
    )
    assert "rows" not in plain["sites"][0]
    assert [row["state"] for row in rich["sites"][0]["rows"]] == ["dead", "dead", "active", "active"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "d.npz"), "--neurons is for the document"),
        (("--json", "-"), "--neurons writes what a replay saw"),
    ],
)
def test_rows_that_nothing_would_hold_are_refused(nla, fake_api, model, arguments, said):
    done = nla("inspect", model, "--neurons", *arguments)
    assert done.code == 2
    assert said in done.err
    fake_api.inspect.assert_not_called()


def test_json_goes_to_its_file_beside_the_table(nla, fake_api, model, tmp_path):
    path = tmp_path / "run.json"
    done = nla("inspect", model, "--data", "d.npz", "--json", path)
    assert json.loads(path.read_text())["summary"]["neurons"] == 4
    assert "2 of 4 neurons" in done.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "run.json"]


def test_synthetic_data_are_named_so_and_need_no_data(nla, fake_api, model):
    fake_api.inspect.return_value = inspection(
        [site_result("relu", {"active": 4})], data={"path": None, "samples": 8, "synthetic": True}
    )
    done = nla("inspect", model, "--synthetic", 8)
    assert done.code == 0
    assert done.out.startswith(" SYNTHETIC DATA")
    assert fake_api.given("inspect")["synthetic"] == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "d.npz", "--synthetic", "3"), "exclude each other"),
        (("--data", "d.npz", "--shard", "4/3"), "expected K/N"),
        (("--data", "d.npz", "--limit", "0"), "whole number from 1"),
        (("--data", "d.npz", "--set", "x"), "expected NAME=VALUE"),
        (("--data", "d.npz", "--set", "x=1", "--set", "x=2"), "given twice"),
        (("--data", "d.npz", "--criterion", "dormancy=1"), "did you mean dormancy_threshold?"),
        (("--data", "d.npz", "--criteria", "nowhere.toml"), "nowhere.toml"),
        (("--data", "d.npz", "--wrong"), "No such option"),
        (("--data", "d.npz", "--kernel", "cuda"), "numba"),
        (("--data", "d.npz", "another.onnx"), "another.onnx"),
    ],
)
def test_options_that_make_no_sense_are_one_line_and_exit_code_2(nla, fake_api, model, arguments, said):
    done = nla("inspect", model, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("nla: error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    fake_api.inspect.assert_not_called()


@pytest.mark.parametrize("option", ["-o", "--json"])
def test_an_output_that_cannot_be_written_is_refused_before_the_replay(
    nla, fake_api, model, tmp_path, option
):
    for path in (tmp_path / "nowhere" / "run", tmp_path, model, "/proc/nowhere/run"):
        done = nla("inspect", model, "--data", "d.npz", option, path)
        assert done.code == 2
        assert done.err.startswith("nla: error: cannot write")
        assert done.err.count("\n") == 1
    fake_api.inspect.assert_not_called()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert model.read_bytes() == b"model"


def test_two_outputs_of_one_name_are_refused(nla, fake_api, model, tmp_path):
    done = nla("inspect", model, "--data", "d.npz", "-o", tmp_path / "run", "--json", tmp_path / "run")
    assert done.code == 2
    assert "two outputs" in done.err
    fake_api.inspect.assert_not_called()


def test_an_error_of_the_api_is_one_line_and_leaves_nothing(nla, fake_api, model, tmp_path):
    fake_api.inspect.side_effect = ModelError("model.onnx: ends after 5 bytes")
    done = nla("inspect", model, "--data", "d.npz", "--json", tmp_path / "run.json")
    assert (done.code, done.out) == (2, "")
    assert done.err == "nla: error: model.onnx: ends after 5 bytes\n"
    assert not (tmp_path / "run.json").exists()
