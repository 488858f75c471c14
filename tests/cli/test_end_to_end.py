"""The whole way, in processes of their own, on a sample model: what a user types and sees."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_models" / "dying_relu"
SCHEMA = json.loads((ROOT / "schemas" / "inspection-1.schema.json").read_text())


def nla(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nla", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def inspected(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with `run.h5` and `run.json`, and what was printed."""
    folder = tmp_path_factory.mktemp("inspected")
    data = ("--data", SAMPLE / "data.npz", "--held-out", "0.2")
    done = nla("inspect", SAMPLE / "model.onnx", *data, "-o", "run.h5", "--json", "run.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_table_document_and_rows_tell_the_same_story(inspected):
    folder, done = inspected
    document = json.loads((folder / "run.json").read_text())
    jsonschema.validate(document, SCHEMA)
    rows = list(csv.DictReader(io.StringIO(nla("neurons", "run.h5", "--format", "csv", cwd=folder).stdout)))
    assert len(rows) == document["summary"]["neurons"]
    for site in document["sites"]:
        mine = [row for row in rows if row["site"] == site["name"]]
        assert [int(row["index"]) for row in mine] == list(range(site["neurons"]))
        for state, number in site["counts"].items():
            assert sum(row["state"] == state for row in mine) == number
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(site["name"])]
        assert f" {site['counts']['dead']} " in line
    assert (
        f"{document['summary']['dead']} of {document['summary']['neurons']} neurons are dead" in done.stdout
    )


def test_the_whole_output_fits_100_columns_but_for_commands_to_paste(inspected):
    _, done = inspected
    assert max(len(line) for line in done.stdout.splitlines() if "run    " not in line) <= 100
    assert done.stderr == ""


def test_rows_can_be_filtered_and_a_wrong_name_is_one_line(inspected):
    folder, _ = inspected
    dead = nla("neurons", "run.h5", "--state", "dead", "--format", "json", cwd=folder)
    assert {row["state"] for row in json.loads(dead.stdout)} == {"dead"}
    wrong = nla("neurons", "run.h5", "--site", "/fc1/relu", cwd=folder)
    assert wrong.returncode == 2
    assert "did you mean /fc1/Relu" in wrong.stderr


def test_the_same_input_gives_the_same_document_but_for_times(inspected):
    folder, _ = inspected
    data = ("--data", SAMPLE / "data.npz", "--held-out", "0.2")
    nla("inspect", SAMPLE / "model.onnx", *data, "--json", "again.json", "-q", cwd=folder)
    first, second = (json.loads((folder / name).read_text()) for name in ("run.json", "again.json"))
    for document in (first, second):
        document["replay"].pop("seconds")
    assert first == second


def test_shards_merge_into_one_pass(inspected, tmp_path):
    for part in (1, 2):
        data = ("--data", SAMPLE / "data.npz", "--shard", f"{part}/2")
        assert (
            nla("inspect", SAMPLE / "model.onnx", *data, "-o", f"{part}.h5", "-q", cwd=tmp_path).returncode
            == 0
        )
    whole = ("--data", SAMPLE / "data.npz", "--json", "whole.json", "-q")
    assert nla("inspect", SAMPLE / "model.onnx", *whole, cwd=tmp_path).returncode == 0
    done = nla("merge", "2.h5", "1.h5", "-o", "merged.h5", "--json", "merged.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    merged, one_pass = (json.loads((tmp_path / name).read_text()) for name in ("merged.json", "whole.json"))
    assert merged["summary"] == one_pass["summary"]


def first_child(process: subprocess.Popen[str]) -> int:
    """The process that `process` starts, waited for."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not Path("/proc/self/task").exists():
        process.kill()
        pytest.skip("this system does not list a process's children")
    while process.poll() is None:
        listed = children.read_text().split()
        if listed:
            return int(listed[0])
        time.sleep(0.01)
    raise AssertionError(f"ended before it was interrupted: {process.communicate()[1]}")


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "nla", "inspect", str(SAMPLE / "model.onnx"), "--synthetic", "100000000"]
    process = subprocess.Popen(
        [*command, "-o", "run.h5", "--json", "run.json"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    child = first_child(process)
    os.kill(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "nla: interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{child}").exists()
