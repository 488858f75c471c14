"""Hostile models: refused before a library sees them, or contained where one crashes, hangs or takes all memory."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hostile import models
from hostile.verdicts import verdicts

BUILDERS = {**{name: builder for name, (builder, _) in models.REFUSED.items()}, **models.ODD}
STRANGE = '\x1b[31m\x1b]0;title\x07\n\r\u202e\u2066\x9b31m\u200b|"/c calc"!A1[red]'
"""Escapes, a title, a bell, line ends, bidirectional controls, CSV quoting and rich's markup."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What came of every cheap case."""
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for number, (name, builder) in enumerate(BUILDERS.items()):
        (folder / str(number)).mkdir()
        paths[name] = builder(folder / str(number))
    return verdicts("survey", paths, folder)


@pytest.mark.parametrize("name", models.REFUSED)
def test_what_a_look_can_see_is_refused_at_once(seen, name):
    verdict = seen[name]
    assert verdict.kind == "refused", verdict
    assert re.search(models.REFUSED[name][1], verdict.text), verdict.text
    assert "\n" not in verdict.text
    assert len(verdict.text) < 600
    assert verdict.seconds < 20


@pytest.mark.parametrize("name", models.ODD)
def test_what_is_odd_and_legitimate_is_read(seen, name):
    verdict = seen[name]
    assert verdict.kind == "done", verdict
    assert re.match("1 sites|0 sites, 1 not understood", verdict.text)
    assert verdict.seconds < 20


@pytest.mark.parametrize(
    "name", ["functions doubled 34 times", "external data a link outside", "names that are not UTF-8"]
)
def test_a_refusal_is_one_line_and_exit_code_2(machine, tmp_path, name):
    builder, words = models.REFUSED[name]
    path = builder(tmp_path)
    machine.run("sites", path).refused(words, re.escape(str(path)))


def inspected(machine, path, *options):
    """`nla inspect` with every output asked for."""
    wide = "x" if path.parent.name != "wide" else "wide"
    shape = (12, 4, 4) if wide == "wide" else (12, 4)
    data = models.data(path.parent, x=np.ones(shape, np.float32))
    return machine.run("inspect", path, "--data", data, "-o", "run.h5", "--json", "run.json", *options)


@pytest.mark.parametrize("name", models.CRASHES)
def test_a_model_that_kills_onnxruntime_ends_in_one_line(machine, tmp_path, name):
    path = models.CRASHES[name](tmp_path)
    inspected(machine, path).refused(
        re.escape(str(path)), "crashed with SIGFPE", "while trying the model in onnxruntime"
    )


def test_attention_without_heads_ends_in_one_line_whether_onnxruntime_refuses_it_or_dies(machine, tmp_path):
    folder = tmp_path / "wide"
    folder.mkdir()
    path = models.attention_without_heads(folder)
    inspected(machine, path).refused(re.escape(str(path)), "crashed with SIGFPE|must be positive")


@pytest.mark.parametrize("name", models.HANGS)
def test_a_model_that_never_ends_is_stopped_by_the_time_limit(machine, tmp_path, name):
    ended = inspected(machine, models.HANGS[name](tmp_path), "--time-limit", "2s")
    ended.refused(r"the time limit of 2 s \(--time-limit\)", "nothing was written")
    assert ended.seconds < 20


@pytest.mark.parametrize("name", models.MEMORY)
def test_a_model_that_takes_all_memory_is_stopped_by_the_memory_limit(machine, tmp_path, name):
    ended = inspected(
        machine, models.MEMORY[name](tmp_path), "--memory-limit", "500MB", "--time-limit", "40s"
    )
    ended.refused(r"the memory limit of 0\.5 GiB \(--memory-limit\)")


def test_a_memory_limit_below_the_need_of_an_honest_model_says_so(machine, sample):
    data = sample / "data.npz"
    machine.run("inspect", sample / "model.onnx", "--data", data, "--memory-limit", "20MB").refused(
        "limit of 19.1 MiB"
    )


def test_names_act_on_nothing_they_are_printed_to(machine, tmp_path):
    model = models.parsed()
    name = "=cmd" + STRANGE
    model.graph.node[1].output[0] = model.graph.output[0].name = name
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = STRANGE
    model.graph.input[0].name = model.graph.node[0].input[0] = model.graph.node[0].name = "x" + STRANGE
    model.producer_name = STRANGE
    path = models.saved(tmp_path, model)
    data = models.data(tmp_path, x=np.arange(48, dtype=np.float32).reshape(12, 4))
    run, document = machine.here / "run.h5", machine.here / "run.json"
    assert machine.run("sites", path).check().code == 0
    assert machine.run("inspect", path, "--data", data, "-o", run, "--json", document).check().code == 0
    assert json.loads(document.read_text())["sites"][0]["name"] == name
    assert machine.run("neurons", run).check().code == 0
    assert machine.run("neurons", run, "--site", name).check().code == 0
    assert machine.run("merge", run, "-o", "merged.h5").check().code == 0
    rows = machine.run("neurons", run, "--format", "csv").check().out.splitlines()
    assert len(rows) == 4
    assert all(row.startswith("\"'=cmd") for row in rows[1:])
    machine.run("neurons", run, "--site", STRANGE).refused("no site|x1b")


def test_a_name_of_a_megabyte_is_cut_where_it_is_shown(machine, tmp_path):
    path = models.renamed(b"n" * (1 << 20))(tmp_path)
    ended = machine.run("sites", path).check()
    assert ended.code == 0
    assert len(ended.out) < 10_000


def test_messages_of_onnxruntime_are_escaped_with_verbose(machine, tmp_path):
    model = models.parsed("", "q = Neg (x)", "q")
    model.graph.node[0].name = STRANGE
    model.graph.node[0].op_type = "NoSuch\x1b[31mOperator"
    path = models.saved(tmp_path, model)
    ended = inspected(machine, path, "--verbose").check()
    assert ended.code == 2
    assert ended.files == ()


def test_nan_in_weights_is_counted_and_no_state(machine, tmp_path):
    model = models.parsed()
    model.graph.initializer[0].float_data[0] = float("nan")
    path = models.saved(tmp_path, model)
    ended = machine.run("inspect", path, "--data", models.data(tmp_path), "--json", "-").check()
    found = json.loads(ended.out)
    assert found["sites"][0]["nonfinite"] == 12
    assert found["summary"]["dead"] == 0
    assert found["summary"]["flags"]["nonfinite"] == found["summary"]["unknown"] == 1


def test_remarks_in_any_encoding_are_no_obstacle(machine, tmp_path):
    model = models.parsed()
    model.doc_string = model.producer_name = model.graph.doc_string = "REMARK"
    model.graph.input[0].doc_string = model.graph.node[0].doc_string = model.graph.initializer[
        0
    ].doc_string = "REMARK"
    model.metadata_props.add(key="REMARK", value="REMARK")
    path = models.saved(tmp_path, model.SerializeToString().replace(b"REMARK", b"caf\xe9 \x1b"))
    ended = inspected(machine, path).check()
    assert (ended.code, ended.err) == (0, "")
