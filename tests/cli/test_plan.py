"""`nla plan`: what it hands on, what it writes, what it prints."""

from __future__ import annotations

import json

import pytest

from nla.cli.options import planning
from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.manifest import policies
from nla.manifest.document import read
from nla.manifest.parameters import SWAPS
from nla.manifest.selection import REQUIREMENTS


def test_every_option_reaches_the_verb_by_its_name(nla, fake_api):
    done = nla(
        *("plan", "run.h5", "--policy", "reset,mask", "--site", "a", "--site", "b", "--state", "dead"),
        *(
            "--require",
            "held-out",
            "--certificates",
            "c.json",
            "--min-margin",
            "0.5",
            "--max-rate-bound",
            "0.1%",
            "--fraction",
            "20%",
        ),
        *("--target-rate", "0.05", "--zero-outgoing", "--seed", "3", "--to", "GELU"),
        *("--criterion", "dormancy_threshold=0.1"),
    )
    assert done.code == 0, done.err
    assert fake_api.given("plan") == {
        "run": "run.h5",
        "policy": ("reset", "mask"),
        "site": ("a", "b"),
        "state": ("dead",),
        "require": ("held-out",),
        "certificates": "c.json",
        "min_margin": 0.5,
        "max_rate_bound": 0.001,
        "fraction": 0.2,
        "target_rate": 0.05,
        "zero_outgoing": True,
        "seed": 3,
        "to": "gelu",
        "criteria": Criteria(dormancy_threshold=0.1),
    }


def test_the_manifest_is_written_and_the_next_command_is_shown(nla, fake_api, tmp_path):
    path = tmp_path / "my manifest.json"
    done = nla("plan", "run.h5", "--policy", "remove", "-o", path)
    assert done.code == 0
    assert read(path) == fake_api.plan.return_value
    assert f"nla apply '{path}' model.onnx -o edited.onnx" in done.out


def test_standard_output_holds_the_manifest_alone(nla, fake_api):
    for option in ("-o", "--json"):
        document = json.loads(nla("plan", "run.h5", "--policy", "remove", option, "-").out)
        assert document["schema"] == "nla/manifest/1"


def test_quiet_prints_nothing(nla, fake_api, tmp_path):
    done = nla("plan", "run.h5", "--policy", "remove", "-q", "-o", tmp_path / "m.json")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_recording_is_never_written_over(nla, fake_api, tmp_path):
    run = tmp_path / "run.h5"
    run.write_bytes(b"recording")
    done = nla("plan", run, "--policy", "remove", "-o", run)
    assert done.code == 2
    assert run.read_bytes() == b"recording"
    fake_api.plan.assert_not_called()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--policy"),
        (("--policy", "remove", "--fraction", "0"), "above 0 and at most 1"),
        (("--policy", "remove", "--require", "luck"), "held-out"),
        (("--policy", "remove", "--min-margin", "far"), "expected a number"),
        (("--policy", "remove", "-o", "-", "--json", "-"), "are the same"),
    ],
)
def test_what_makes_no_sense_is_one_line(nla, fake_api, arguments, message):
    done = nla("plan", "run.h5", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_policy_is_one_line(nla, fake_api):
    fake_api.plan.side_effect = UsageError("no policy 'prnue'; did you mean prune?")
    done = nla("plan", "run.h5", "--policy", "prnue")
    assert (done.code, done.err) == (2, "nla: error: no policy 'prnue'; did you mean prune?\n")


def test_the_lists_of_the_command_line_are_those_of_the_manifest():
    assert planning.POLICIES == policies.NAMES
    assert {name.lower() for name in SWAPS} == {"gelu", "silu", "elu", "leakyrelu"}
    assert REQUIREMENTS == ("held-out", "certificate")
