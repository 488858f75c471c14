"""Hostile manifests: refused in one line before anything is written, or carried out as far as they make sense."""

from __future__ import annotations

import re

import pytest
from hostile import manifests
from hostile.verdicts import verdicts


def seen(task, cases, honest, folder):
    """What came of every case, each beside a model of its own."""
    for name, content in honest.contents().items():
        (folder / name).write_bytes(content)
    return verdicts(task, cases, folder)


def written(cases, honest, folder):
    """Every case as a file."""
    files = type(honest)(folder)
    (folder / "manifest.json").write_bytes(honest.manifest.read_bytes())
    return {name: files.changed(change, f"{k}.json") for k, (name, change) in enumerate(cases.items())}


@pytest.fixture(scope="module")
def refused(tmp_path_factory, honest):
    folder = tmp_path_factory.mktemp("refused")
    cases = written({name: change for name, (change, _) in manifests.REFUSED.items()}, honest, folder)
    for k, (name, (change, _)) in enumerate(manifests.TEXTS.items()):
        text = change(honest.manifest.read_text())
        cases[name] = folder / f"text_{k}.json"
        cases[name].write_bytes(text if isinstance(text, bytes) else text.encode())
    before = honest.contents()
    found = seen("apply", cases, honest, folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not [path for path in folder.iterdir() if path.name.startswith(("made", ".nla"))]
    return found


@pytest.mark.parametrize("name", [*manifests.REFUSED, *manifests.TEXTS])
def test_nonsense_is_refused_in_one_line_and_nothing_is_written(refused, name):
    verdict = refused[name]
    assert verdict.kind == "refused", verdict
    words = {**manifests.REFUSED, **manifests.TEXTS}[name][1]
    assert re.search(words, verdict.text), verdict.text
    assert verdict.text.isprintable()
    assert len(verdict.text) < 600
    assert verdict.seconds < 20


@pytest.fixture(scope="module")
def lies(tmp_path_factory, honest):
    folder = tmp_path_factory.mktemp("lies")
    cases = written({name: change for name, (change, _) in manifests.LYING_WEIGHTS.items()}, honest, folder)
    return seen("masks", cases, honest, folder)


@pytest.mark.parametrize("name", manifests.LYING_WEIGHTS)
def test_weights_that_lie_make_no_mask(lies, name):
    verdict = lies[name]
    assert verdict.kind == "refused", verdict
    assert re.search(manifests.LYING_WEIGHTS[name][1], verdict.text), verdict.text
    assert verdict.text.isprintable()
    assert verdict.seconds < 5


@pytest.fixture(scope="module")
def odd(tmp_path_factory, honest):
    folder = tmp_path_factory.mktemp("odd")
    return seen("apply", written(manifests.ODD, honest, folder), honest, folder)


@pytest.mark.parametrize("name", manifests.ODD)
def test_what_is_odd_and_well_formed_is_carried_out_or_listed(odd, name):
    assert odd[name].kind == "done", odd[name]
    assert odd[name].seconds < 20


def test_a_layer_never_goes_as_a_whole(odd):
    assert "kept for the width of its layer" in odd["a layer all of whose units go"].text
    assert "beyond the numbers" in odd["a fold beyond the type"].text


# The script itself


@pytest.mark.parametrize(
    "name", ["for another checkpoint", "a site with escapes", "a unit out of range", "lists nested 900 deep"]
)
@pytest.mark.parametrize("options", [("-o", "out.onnx", "--record-undo", "undo"), ("--dry-run",)])
def test_a_refusal_is_one_line_and_exit_code_2(machine, files, name, options):
    change, words = manifests.REFUSED[name]
    before = files.contents()
    machine.run("apply", files.changed(change), files.model, *options).refused(words)
    assert files.contents() == before


def test_masks_that_cannot_be_are_one_line(machine, files):
    change, words = manifests.LYING_WEIGHTS["a terabyte"]
    machine.run("masks", files.changed(change), "-o", "masks").refused(words)


def test_a_manifest_that_is_no_file_is_one_line(machine, files):
    for path, words in (
        ("nowhere", "no such file"),
        (files.folder, "not a regular"),
        ("/dev/zero", "not a regular"),
    ):
        machine.run("apply", path, files.model, "-o", "out.onnx").refused(words)


@pytest.mark.slow
def test_100_mb_of_numbers_end_in_one_line(machine, files):
    path = files.folder / "large.json"
    path.write_text('{"schema": "nla/manifest/1", "notes": [' + "1," * 50_000_000 + "1]}")
    ended = machine.run("apply", path, files.model, "-o", "out.onnx")
    ended.refused("over 8,000,000 values")
    assert ended.seconds < 20


def test_names_from_a_manifest_act_on_nothing(machine, files):
    strange = manifests.STRANGE
    path = files.changed(
        lambda plain: (
            plain.update(notes=[strange], nla=strange, policy={"name": strange}),
            plain["actions"][0].update(id=strange, units=[0, 1, 2, 3], effect={"expect": strange}),
        )
    )
    assert machine.run("apply", path, files.model, "-o", "out.onnx", "--json", "out.json").check().code == 0
    assert machine.run("masks", path, "-o", "masks").check().code in (0, 2)
    ended = machine.run(
        "verify", files.model, "out.onnx", "--data", files.data, "--manifest", path, "--json", "seen.json"
    )
    assert ended.check().code == 1  # all four units went, and two of them were alive
