"""`nla check`: exit codes, formats and files; and docs/gate.md, whose examples are run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from series import run, site

from nla import api
from nla.cli.app import nla as group
from nla.cli.options import gating
from nla.gate.rules import from_mapping
from nla.rendering.gate import FORMATS
from nla.verbs import gating as verb

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas/check-1.schema.json").read_text())
DOCUMENT = (ROOT / "docs/gate.md").read_text()
ILL, WELL = "dying_relu", "healthy"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of recordings and documents of two sample models, and where they are run."""
    folder = tmp_path_factory.mktemp("runs")
    for name in (ILL, WELL):
        sample = ROOT / "sample_models" / name
        seen = api.inspect(
            sample / "model.onnx",
            sample / "data.npz",
            output=folder / f"{name}.h5",
            held_out=0.2,
            in_process=True,
        )
        from nla.lifecycle.document import document
        from nla.rendering.strict_json import json_text

        (folder / f"{name}.json").write_text(json_text(document(seen)))
    return folder


@pytest.fixture
def opened(monkeypatch):
    """Stands in for the files: every path opens as a hand-made run of its name, five of ten neurons dead."""
    made = lambda paths: tuple(run(str(p), site("fc", "d" * 5 + "a" * 5)) for p in paths)  # noqa: E731
    monkeypatch.setattr(verb, "open_runs", lambda paths, *rest, **settings: made(paths))


def test_the_exit_code_is_that_of_the_gate(nla, runs):
    assert nla("check", runs / f"{ILL}.json", "--max-dead", "90%").code == 0
    done = nla("check", runs / f"{ILL}.json", "--max-dead", "5%")
    assert (done.code, done.err) == (1, "")
    assert re.search(r"FAILS +max-dead +network +206 of 384 \(53.65 %\) +≤ 5 %", done.out)


def test_a_recording_and_its_document_are_judged_alike(nla, runs):
    options = (
        "--max-dead",
        "5%",
        "--max-dead-layer",
        "50%",
        "--min-effective-rank",
        "0.12",
        "--format",
        "json",
    )
    of_both = [json.loads(nla("check", runs / f"{ILL}.{kind}", *options).out) for kind in ("h5", "json")]
    for document in of_both:
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
    first, second = ([{**result, "run": ""} for result in document["results"]] for document in of_both)
    assert [{k: v for k, v in r.items() if k != "value"} for r in first] == [
        {k: v for k, v in r.items() if k != "value"} for r in second
    ]
    assert [r["value"] for r in first] == pytest.approx([r["value"] for r in second])


def test_a_baseline_is_compared_with(nla, runs):
    assert nla("check", runs / f"{WELL}.json", "--baseline", runs / f"{ILL}.json").code == 0
    done = nla("check", runs / f"{ILL}.json", "--baseline", runs / f"{WELL}.json", "--baseline-slack", "60%")
    assert done.code == 1
    assert "baseline-dead-layer" in done.out
    assert "cannot be judged at network: the document has no row" in " ".join(done.out.split())


def test_python_takes_inspections_and_rules_as_mappings(runs):
    seen = api.load(runs / f"{WELL}.h5", in_process=True)
    checked = api.check(
        seen, rules=[{"metric": "dead", "max": 14}, from_mapping({"metric": "dead", "max": 15}, "")]
    )
    assert [result.held for result in checked.results] == [False, True]
    assert not checked.held
    assert api.check([seen, seen], max_dead=0.05, min_effective_rank=0.1).held


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_goes_to_standard_output_alone(nla, opened, name):
    done = nla("check", "a.h5", "--max-dead", "5%", "--format", name)
    assert (done.code, done.err) == (1, "")
    begins = {
        "text": "verdict",
        "json": "{\n",
        "junit": "<?xml",
        "sarif": "{\n",
        "github": "::err",
        "prometheus": "# HELP",
    }
    assert done.out.startswith(begins[name])


@pytest.mark.parametrize("name", FORMATS)
def test_with_a_file_the_table_is_printed_all_the_same(nla, opened, tmp_path, name):
    done = nla("check", "a.h5", "--max-dead", "5%", "--format", name, "-o", tmp_path / "out")
    assert (done.code, done.out.partition(" ")[0]) == (1, "verdict")
    alone = nla("check", "a.h5", "--max-dead", "5%", "--format", name, "-o", "-")
    assert (tmp_path / "out").read_text() == alone.out
    assert nla("check", "a.h5", "--max-dead", "5%", "-q").out == ""


def test_without_a_rule_the_default_rules_are_printed_as_such(nla, opened):
    done = nla("check", "a.h5", "b.h5")
    assert done.code == 1
    assert "none was given: the default rules" in done.out


def test_list_prints_the_metrics_and_needs_no_run(nla):
    done = nla("check", "--list")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^dead_rate_bound", done.out, flags=re.M)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-dead", "many"], "max-dead: 'many' is no limit; expected a share such as 5%"),
        (["--max-dead", "101%"], "at most 100%"),
        (["--max-dead-layer", "-1"], "max-dead-layer: '-1' is no limit"),
        (["--min-effective-rank", "12"], "min-effective-rank: '12' is no limit"),
        (["--baseline-slack", "1%"], "baseline-slack without a baseline"),
        (["--baseline", "b.h5", "--baseline-slack", "3"], "is no share"),
        (["--rules", "absent.toml"], "absent.toml: no such file"),
        (["--format", "yaml"], "'yaml' is not one of"),
        (["--max-dead", "5%", "-o", "no/such/folder/x"], "cannot write no/such/folder/x"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(nla, opened, arguments, said):
    done = nla("check", "a.h5", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_the_output_is_not_written_over_what_was_read(nla, runs):
    before = (runs / f"{WELL}.json").read_bytes()
    done = nla("check", runs / f"{WELL}.json", "--format", "json", "-o", runs / f"{WELL}.json")
    assert done.code == 2
    assert "it is the file that was read" in done.err
    assert (runs / f"{WELL}.json").read_bytes() == before


def test_the_formats_of_the_option_are_those_that_there_are():
    assert tuple(FORMATS) == gating.FORMATS


# --- docs/gate.md


def block(language):
    """The last fenced block of a language in docs/gate.md."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.S)[-1]


def steps():
    """The `run:` of each step of the workflow, by the step's name, as written."""
    found = re.findall(r"- name: (\w+)\n(?: +if: .*\n)? +run: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", block("yaml"))
    return {name: re.sub(r"^ {10}", "", many, flags=re.M) or one for name, many, one in found}


@pytest.fixture
def project(tmp_path):
    """A project as the examples suppose it, with a sample model; `nla` is this one, `pip` does nothing."""

    def made(model):
        bin_folder = tmp_path / "bin"
        scripts = {
            bin_folder / "nla": f'exec "{sys.executable}" -m nla "$@"',
            bin_folder / "pip": 'echo "pip $*" >> pip.log',
            tmp_path / "serve": 'echo "$1" > served',
        }
        bin_folder.mkdir()
        for path, line in scripts.items():
            path.write_text(f"#!/bin/sh\n{line}\n")
            path.chmod(0o755)
        for folder in ("model", "export"):
            (tmp_path / folder).mkdir()
            for name, source in {"model.onnx": "model.onnx", "calibration.npz": "data.npz"}.items():
                (tmp_path / folder / name).symlink_to(ROOT / "sample_models" / model / source)
        for path in (tmp_path / "rules.toml", tmp_path / "model/rules.toml"):
            path.write_text(block("toml"))
        (tmp_path / "metrics").mkdir()
        return tmp_path

    return made


def shell(folder, script):
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TEXTFILE_DIRECTORY": str(folder / "metrics"),
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workflow_of_the_docs_lets_a_healthy_model_pass(project):
    folder, written = project(WELL), steps()
    ended = [shell(folder, written[name]) for name in ("Inspect", "Gate")]
    assert [done.returncode for done in ended] == [0, 0], ended
    warning, verdict = ended[-1].stdout.splitlines()
    assert warning.startswith(
        "::warning file=model/model.onnx,title=nla check%3A the dead stay silent::run: network: "
    )
    assert verdict == "nla check: holds: 5 of 6 checks passed, 1 warning"


def test_the_workflow_of_the_docs_runs_as_written_and_stops_a_model_that_is_ill(project):
    folder, written = project(ILL), steps()
    assert list(written) == ["Install", "Inspect", "Gate", "Reports"]
    ended = {name: shell(folder, script) for name, script in written.items()}
    assert {name: done.returncode for name, done in ended.items()} == {
        **dict.fromkeys(written, 0),
        "Gate": 1,
    }, ended
    assert "::error file=model/model.onnx" in ended["Gate"].stdout
    assert ElementTree.parse(folder / "check.xml").getroot().get("failures") == "4"
    log = json.loads((folder / "check.sarif").read_text())
    assert [result["level"] for result in log["runs"][0]["results"]] == ["error"] * 4


@pytest.mark.parametrize(("model", "code"), [(WELL, 0), (ILL, 1)])
def test_the_example_before_serving_runs_as_written(project, model, code):
    folder = project(model)
    done = shell(folder, block("sh"))
    assert done.returncode == code, done.stderr
    assert (folder / "served").exists() is (code == 0)
    assert ("not served" in done.stderr) is bool(code)
    metrics = (folder / "metrics/nla.prom").read_text()
    assert f'nla_check_held{{run="run"}} {1 - code}\n' in metrics
    assert [path.name for path in (folder / "metrics").iterdir()] == ["nla.prom"]


def test_the_python_example_of_the_docs_runs_as_written(runs, monkeypatch, tmp_path):
    (tmp_path / "run.h5").symlink_to(runs / f"{WELL}.h5")
    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})


def test_the_docs_name_every_key_format_and_default_rule():
    from nla.gate.rules import KEYS

    for name in (*KEYS, *FORMATS):
        assert f"`{name}`" in DOCUMENT, name
    assert len(tomllib.loads(block("toml"))["rule"]) == 4
    for option in group.commands["check"].params:
        if option.name in (
            "max_dead",
            "max_dead_layer",
            "min_effective_rank",
            "rules",
            "baseline",
            "baseline_slack",
        ):
            assert option.opts[0] in DOCUMENT
