"""The other commands, and what all of them share: help, version, completion."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tomllib

import pytest
from inspections import inspection, site_result

from nla import __version__
from nla.activations import Activation
from nla.cli.app import nla as group
from nla.errors import RecordingError
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.table import neuron_table
from nla.site import Input, NotUnderstood, Producer, Site, Survey

SURVEY = Survey(
    sites=(
        Site(
            "relu",
            "conv",
            Activation.named("Relu"),
            8,
            (-3,),
            4,
            producers=(Producer("c", "Conv", "w", groups=8),),
        ),
    ),
    not_understood=tuple(
        NotUnderstood(f"loop{i}", "Loop", "bodies of Loop are left alone") for i in range(20)
    ),
    inputs=(Input("x", "float32", ("n", 3, None, 8)), Input("state", "float32", None)),
    outputs=("y",),
    parameters=80,
    checkpoint={"path": "model.onnx", "bytes": 400},
    notes=("state set to 0",),
)


@pytest.mark.parametrize(
    "command", [[], *([name] for name in group.commands)], ids=lambda c: " ".join(c) or "nla"
)
def test_help_begins_with_an_example_to_paste(nla, command):
    done = nla(*command, "--help")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] in ("Example:", "Examples:")
    assert "nla " in lines[1]
    assert max(map(len, lines)) <= 100


def test_nla_alone_shows_its_help(nla):
    done = nla()
    assert done.code == 0
    for name in group.commands:
        assert f"\n  {name} " in done.out


def test_the_version_is_the_package_s(nla):
    assert nla("--version").out == f"nla {__version__}\n"


def test_an_unknown_command_is_one_line(nla):
    done = nla("inspekt", "model.onnx")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "inspekt" in done.err


def test_sites_lists_everything_that_was_not_understood(nla, fake_api):
    fake_api.sites.return_value = SURVEY
    done = nla("sites", "model.onnx", "--set", "state=0", "--include", "linear", "--time-limit", "5s")
    assert done.code == 0
    assert fake_api.given("sites") == {
        "model": "model.onnx",
        "constants": {"state": 0},
        "include": ("linear",),
        **dict.fromkeys(("graph", "layers", "activation")),
        "memory_limit": None,
        "time_limit": 5.0,
        "in_process": False,
    }
    assert "conv" in done.out
    assert "Conv/8" in done.out
    assert "loop19" in done.out
    assert "[n, 3, ?, 8]" in done.out


def test_sites_as_json(nla, fake_api):
    fake_api.sites.return_value = SURVEY
    document = json.loads(nla("sites", "model.onnx", "--json", "-").out)
    assert document["schema"] == "nla/sites/1"
    assert document["sites"][0]["name"] == "relu"
    assert len(document["not_understood"]) == 20


def test_a_model_without_sites_is_no_error(nla, fake_api):
    fake_api.sites.return_value = Survey((), (), (), (), 0, {"path": "m.onnx"})
    done = nla("sites", "m.onnx")
    assert done.code == 0
    assert "no site was found" in done.out


def test_neurons_hands_the_filters_on(nla, fake_api):
    filters = ("--site", "a", "--site", "b", "--state", "dead", "--flag", "near_dead")
    done = nla("neurons", "run.h5", *filters, "--memory-limit", "1GB", "--time-limit", "5s")
    assert done.code == 0
    given = fake_api.given("neurons")
    assert given.pop("criteria") == Criteria()
    assert given == {
        **{"run": "run.h5", "site": ("a", "b"), "state": ("dead",), "flag": ("near_dead",)},
        **{"memory_limit": 1_000_000_000, "time_limit": 5.0},
    }


def test_neurons_as_csv_and_as_json_hold_the_same_numbers(nla, fake_api):
    rate = [0.1, 1 / 3, float("nan"), 5e-324]
    seen = inspection([site_result("relu", {"active": 4}, columns={"activation_rate": _array(rate)})])
    fake_api.neurons.return_value = neuron_table(seen)
    rows = list(csv.DictReader(io.StringIO(nla("neurons", "run.h5", "--format", "csv").out)))
    objects = json.loads(nla("neurons", "run.h5", "--format", "json").out)
    assert [row["activation_rate"] for row in rows] == ["0.1", "0.3333333333333333", "", "5e-324"]
    assert [item["activation_rate"] for item in objects] == [0.1, 1 / 3, None, 5e-324]


def _array(values):
    import numpy as np

    return np.array(values)


def test_merge_needs_a_name_for_the_result(nla, fake_api, tmp_path):
    done = nla("merge", "a.h5", "b.h5")
    assert done.code == 2
    assert "-o" in done.err
    done = nla("merge", "a.h5", "b.h5", "-o", tmp_path / "run.h5", "--time-limit", "2m")
    assert done.code == 0
    assert fake_api.given("merge") == {
        **{"runs": ("a.h5", "b.h5"), "output": str(tmp_path / "run.h5")},
        **{"memory_limit": None, "time_limit": 120.0},
    }


def test_merge_never_writes_over_a_shard(nla, fake_api, tmp_path):
    shard = tmp_path / "a.h5"
    shard.write_bytes(b"shard")
    done = nla("merge", shard, "-o", shard)
    assert done.code == 2
    assert shard.read_bytes() == b"shard"
    fake_api.merge.assert_not_called()


def test_a_recording_that_cannot_be_read_is_one_line(nla, fake_api):
    fake_api.neurons.side_effect = RecordingError("run.h5: not a recording of nla")
    done = nla("neurons", "run.h5")
    assert (done.code, done.err) == (2, "nla: error: run.h5: not a recording of nla\n")


def test_criteria_print_the_toml_that_they_read(nla, tmp_path):
    text = nla("criteria", "--criterion", "dormancy_threshold=0.1").out
    assert tomllib.loads(text) == Criteria(dormancy_threshold=0.1).to_dict()
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    assert Criteria.from_toml(path).dormancy_threshold == 0.1
    again = nla("criteria", "--criteria", path, "--criterion", "confidence_alpha=0.01").out
    assert tomllib.loads(again) == Criteria(dormancy_threshold=0.1, confidence_alpha=0.01).to_dict()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_nla(nla, shell):
    done = nla("completion", shell)
    assert done.code == 0
    assert "_NLA_COMPLETE" in done.out


def test_completion_knows_commands_and_options():
    def complete(words: str, index: int) -> str:
        environment = {"_NLA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        done = subprocess.run(
            [sys.executable, "-m", "nla"], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "inspect" in complete("nla ins", 1)
    assert "--held-out" in complete("nla inspect --hel", 2)
    assert "dead" in complete("nla neurons run.h5 --state d", 4)
