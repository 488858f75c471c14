"""Hostile checkpoints without a graph: config, index and tensors that lie are refused in one clear line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hostile import checkpoints
from hostile.headers import GOOD, file_of
from hostile.verdicts import verdicts

BUILDERS = {**{name: builder for name, (builder, _) in checkpoints.REFUSED.items()}, **checkpoints.ODD}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What came of every case."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for number, (name, builder) in enumerate(BUILDERS.items()):
        (folder / str(number)).mkdir()
        paths[name] = builder(folder / str(number))
    return verdicts("survey", paths, folder), paths


@pytest.mark.parametrize("name", checkpoints.REFUSED)
def test_a_checkpoint_that_lies_is_refused_at_once(seen, name):
    verdict, path = seen[0][name], seen[1][name]
    assert verdict.kind == "refused", verdict
    assert re.search(checkpoints.REFUSED[name][1], verdict.text), verdict.text
    assert str(path) in verdict.text
    assert verdict.text.isprintable()
    assert len(verdict.text) < 2000
    assert verdict.seconds < 20


@pytest.mark.parametrize("name", checkpoints.ODD)
def test_what_is_odd_and_legitimate_is_read(seen, name):
    verdict = seen[0][name]
    assert verdict.kind == "done", verdict
    assert verdict.text == seen[0]["nothing wrong"].text


def test_spoilt_checkpoints_give_sites_or_a_clear_error(tmp_path):
    paths = {str(path): path for path in checkpoints.spoilt(tmp_path, 150, seed=4)}
    kinds = {"done": 0, "refused": 0}
    for path, verdict in verdicts("survey", paths, tmp_path).items():
        assert verdict.kind in kinds, (verdict, (Path(path) / "config.json").read_text())
        assert verdict.text.isprintable(), verdict.text
        assert verdict.seconds < 20, verdict
        kinds[verdict.kind] += 1
    assert min(kinds.values()) > 20, kinds


@pytest.mark.parametrize("name", ["a tensor nobody uses", "a missing shard", "model type an escape"])
def test_a_refusal_is_one_line_and_exit_code_2(machine, tmp_path, name):
    builder, words = checkpoints.REFUSED[name]
    machine.run("sites", builder(tmp_path)).refused(words, re.escape(str(tmp_path)))


HEADERS = {
    "truncated": GOOD[: len(GOOD) // 2],
    "longer than the file": (1 << 40).to_bytes(8, "little") + GOOD[8:],
    "60 MB of JSON": file_of(b'{"a":[' + b"0," * (30 << 20) + b"0]}", b""),
}
"""Spoilt files in the place of a checkpoint's own."""


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused_by_the_verbs(machine, tmp_path, name):
    checkpoints.honest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(HEADERS[name])
    for verb in ("sites", "inspect"):
        ended = machine.run(verb, tmp_path)
        ended.refused(re.escape(str(tmp_path / "model.safetensors")))
        assert ended.seconds < 20
