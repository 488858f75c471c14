"""Manifests of steps: CSV, JSON, ML-Agents' status; a bad row is refused by its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nla.errors import UsageError
from nla.runs.steps import Step, read_steps


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest, and reads it."""

    def read(content: str | bytes, name: str = "steps.csv") -> tuple[Step, ...]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_steps(path)

    return read


def test_csv_and_json_say_the_same(manifest, tmp_path):
    expected = (
        Step(str(tmp_path / "a" / "two.h5"), 2, "second"),
        Step(str(tmp_path.parent / "ten.h5"), 10, None),
    )
    assert manifest("path,step,label\r\n../ten.h5,10,\r\n\r\na/two.h5, 2,second\r\n") == expected
    rows = [{"path": "../ten.h5", "step": 10}, {"path": "a/two.h5", "step": 2, "label": "second"}]
    assert manifest(json.dumps(rows)) == expected


def test_labels_may_be_left_out_and_paths_be_absolute(manifest):
    assert manifest("\ufeffpath,step\n/runs/x.h5,0\n") == (Step("/runs/x.h5", 0),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1 is empty; expected CSV with the header path,step"),
        ("path;step\na;1\n", "line 1 is path;step; expected CSV"),
        ("path,step\n", "it has no row"),
        ("path,step\na,1\nb\n", "line 3 has 1 values, expected 2"),
        ("path,step\na,1\n\nb,x\n", "line 4: step is 'x', expected a whole number from 0 on"),
        ("path,step\na,-1\n", "line 2: step is '-1'"),
        ("path,step\na,1.5\n", "line 2: step is '1.5'"),
        ("path,step\na," + "9" * 6000 + "\n", "line 2: step is '999"),
        ("path,step\n,1\n", "line 2: path is ''"),
        ("path,step\na,1\na,2\n", "line 3: the path a is that of line 2 too"),
        ("path,step\na,1\nb,1\n", "line 3: the step 1 is that of line 2 too"),
        ("path,step,label\na,1,x\nb,2,x\n", "line 3: the label x is that of line 2 too"),
        ('path,step\n"a,1\n', "line 2: unexpected end of data"),
        (b"path,step\n\xff,1\n", "not UTF-8 at byte 10"),
        ("[]", "it has no row"),
        ("[1]", "row 1 of the list is no object with path, step"),
        ('[{"path": "a"}]', "row 1 of the list is no object"),
        ('[{"path": "a", "step": true}]', "row 1: step is True"),
        ('[{"path": "a", "step": 1, "label": 2}]', "row 1: label is 2"),
        ('[{"path": "a\\u0000", "step": 1}]', "row 1: path is"),
        ('[{"path": "a", "step": 1}', "not valid JSON; is it truncated"),
        ("{}", "JSON that lists no checkpoints"),
        ('{"a": {"checkpoints": [{"steps": 1}]}}', "checkpoint 1 has no file_path and steps"),
        ('{"a": {"checkpoints": [{"steps": 1, "file_path": "x"}]}}', "none of the 1 checkpoints"),
    ],
)
def test_a_bad_manifest_is_refused_by_its_line(manifest, content, said, tmp_path):
    with pytest.raises(UsageError) as refused:
        manifest(content)
    assert str(refused.value).startswith(f"{tmp_path / 'steps.csv'}: ")
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_files_that_are_none_are_refused_by_their_names_once(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(UsageError) as refused:
            read_steps(path)
        assert str(refused.value).count(str(path)) == 1


def status(behaviours: dict[str, list[tuple[int, str]]]) -> str:
    return json.dumps(
        {
            **{
                name: {"checkpoints": [{"steps": step, "file_path": path} for step, path in listed]}
                for name, listed in behaviours.items()
            },
            "metadata": {"mlagents_version": "1.1.0"},
        }
    )


def test_ml_agents_status_lists_what_is_there_from_whatever_machine(manifest, tmp_path):
    for name in ("Ball-20.onnx", "Ball/Ball-3.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [
        (20, "results\\run\\Ball\\Ball-20.onnx"),
        (3, "results/run/Ball/Ball-3.onnx"),
        (9, "Ball-9.onnx"),
    ]
    assert manifest(status({"Ball": listed}), "training_status.json") == (
        Step(str(tmp_path / "Ball" / "Ball-3.onnx"), 3),
        Step(str(tmp_path / "Ball-20.onnx"), 20),
    )


def test_ml_agents_status_of_two_networks_is_refused(manifest):
    with pytest.raises(UsageError, match=r"lists checkpoints of 2 networks \(Ball, Goal\): name the files"):
        manifest(status({"Ball": [(1, "a.onnx")], "Goal": [(2, "b.onnx")]}))


@pytest.mark.shared
def test_a_real_status_of_ml_agents(shared: Path):
    folder = shared / "models" / "mlagents-series" / "rollerball_v2"
    steps = read_steps(folder / "training_status.json")
    assert [each.step for each in steps] == [5499980, 5999995, 6499991, 6999997, 7200003]
    assert all(Path(each.path).is_file() for each in steps)
