"""`nla neurons` into a file: the same rows in each format, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest
from inspections import inspection, site_result

from nla.lifecycle.table import neuron_table

FORMATS = ("csv", "json", "parquet")
HOSTILE = '=cmd|"/c calc"!A1\n<b>\x1b[31m'


@pytest.fixture
def rows(fake_api):
    """The verb answers with three neurons of a site of hostile name."""
    columns = {"activation_rate": np.array([0.0, 1 / 3, np.nan])}
    found = neuron_table(inspection([site_result(HOSTILE, {"dead": 1, "active": 2}, columns=columns)]))
    fake_api.neurons.return_value = found
    return found


@pytest.mark.parametrize("how", ["ending", "format"])
def test_every_format_holds_the_same_rows(nla, rows, tmp_path, how):
    parquet = pytest.importorskip("pyarrow.parquet")
    files = {kind: tmp_path / (f"rows.{kind}" if how == "ending" else f"{kind}.out") for kind in FORMATS}
    for kind, path in files.items():
        done = nla("neurons", "run.h5", "-o", path, *(() if how == "ending" else ("--format", kind)))
        assert (done.code, done.out, done.err) == (0, "", "")
    printed = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    objects = json.loads(files["json"].read_text())
    table = parquet.read_table(files["parquet"]).to_pylist()
    assert [row["activation_rate"] for row in printed] == ["0.0", "0.3333333333333333", ""]
    assert [row["activation_rate"] for row in objects] == [0.0, 1 / 3, None]
    assert [row["activation_rate"] for row in table] == [0.0, 1 / 3, None]
    assert {row["site"] for row in objects} == {row["site"] for row in table} == {HOSTILE}
    assert printed[0]["site"] == "'" + HOSTILE.replace("\n", "\\n").replace("\x1b", "\\x1b")
    for row, neuron in zip(table, rows.rows(), strict=True):
        assert {**neuron, "flags": list(neuron["flags"])} == row
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in files.values())


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_holds_what_standard_output_would(nla, rows, tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    nla("neurons", "run.h5", "-o", path)
    assert path.read_text() == nla("neurons", "run.h5", "--format", kind, "-o", "-").out


def test_parquet_is_the_same_bytes_each_time(nla, rows, tmp_path):
    pytest.importorskip("pyarrow")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in paths:
        nla("neurons", "run.h5", "-o", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_parquet_on_a_terminal_is_refused_before_the_work(nla, rows, fake_api, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    for where in ((), ("-o", "-")):
        done = nla("neurons", "run.h5", "--format", "parquet", *where)
        assert done.code == 2
        assert "name a file with -o" in done.err
    fake_api.neurons.assert_not_called()


def test_parquet_without_its_library_is_one_line_before_the_work(nla, rows, fake_api, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = nla("neurons", "run.h5", "-o", tmp_path / "rows.parquet")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "pip install 'nla[arrow]'" in done.err
    assert list(tmp_path.iterdir()) == []
    fake_api.neurons.assert_not_called()


@pytest.mark.parametrize("arguments", [("-o", "rows.txt"), ("-o", "rows.csv", "--format", "table")])
def test_a_file_without_a_format_is_refused(nla, rows, fake_api, arguments):
    done = nla("neurons", "run.h5", *arguments)
    assert done.code == 2
    assert "csv, json or parquet" in done.err
    fake_api.neurons.assert_not_called()


def test_a_recording_is_not_written_over(nla, rows, fake_api, tmp_path):
    run = tmp_path / "run.csv"
    run.write_bytes(b"recording")
    assert nla("neurons", run, "-o", run).code == 2
    assert run.read_bytes() == b"recording"
    fake_api.neurons.assert_not_called()


def test_a_fault_while_writing_leaves_no_file(nla, rows, tmp_path, monkeypatch):
    from nla.errors import OutputError
    from nla.rendering import table

    def fails(*_: object) -> None:
        raise OutputError("cannot write")

    monkeypatch.setattr(table, "print_json", fails)
    assert nla("neurons", "run.h5", "-o", tmp_path / "rows.json").code == 2
    assert list(tmp_path.iterdir()) == []
