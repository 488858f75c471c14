"""Tables for pandas and Arrow: the numbers of the CSV, digit for digit, with types that hold for every run."""

from __future__ import annotations

import csv
import io
import json
import math
import sys

import numpy as np
import pytest
from inspections import inspection, site_result

from nla.errors import MissingExtraError, UsageError
from nla.lifecycle.results import STATES, Inspection
from nla.lifecycle.table import neuron_table
from nla.rendering import table

HOSTILE = [
    "=1+1",
    'a,b\n"c"',
    "<script>alert('x')</script>",
    "\x1b[31mred",
    "\u202eabc",
    "lone\ud800",
    "",
    "φ",
]
COUNTS = ("index", "samples", "positions", "fired_samples", "held_out_fired", "labels_answered", "nonfinite")


def seen() -> Inspection:
    """Two sites: one with labels and a held-out split, one without; numbers that test every digit."""
    told = {
        "activation_rate": np.array([0.0, 0.1, 1 / 3, np.nan]),
        "mean": np.array([0.0, -0.0, 5e-324, 1.7976931348623157e308]),
        "margin": np.array([np.inf, -0.25, np.nan, 2.5]),
        "positions": np.array([0, 2**53 + 1, 2**62, 7]),
        "mutual_information": np.array([0.0, 0.7, np.nan, 0.1]),
        "held_out_fired": np.array([0, 3, 2**53 + 1, 5]),
        "labels_answered": np.array([0.0, 1.0, np.nan, 10.0]),
        "nonfinite": np.array([0, 0, 1, 0]),
        "decided_by": np.array(["", "labels", "sparseness", ""]),
    }
    flags = {1: ("linear",), 2: ("near_dead", "nonfinite")}
    first = site_result("/fc1/Relu", {"dead": 1, "specialised": 2, "active": 1}, flags=flags, columns=told)
    plain = {"nonfinite": np.zeros(3, np.int64), "decided_by": np.array(["", "", ""])}
    return inspection([first, site_result("/fc2/Relu", {"dormant": 1, "active": 2}, columns=plain)])


def csv_rows(found: Inspection) -> list[dict[str, str]]:
    out = io.StringIO()
    table.print_csv(neuron_table(found), out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def as_cell(name: str, value: object) -> str:
    """A value of a frame as the CSV prints it, written anew: numbers by repr, nothing for what is not known."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list | np.ndarray):
        return ";".join(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if name in COUNTS and name != "labels_answered":  # which the CSV prints as 1.0
        return str(int(value))
    return repr(float(value))


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_a_frame_holds_the_values_of_the_csv_exactly(library):
    pytest.importorskip(library)
    found = seen()
    rows = csv_rows(found)
    if library == "pandas":
        frame = found.to_pandas()
        columns = {name: [None if v is frame.dtypes[name].na_value else v for v in frame[name]] if name in COUNTS
                   else list(frame[name]) for name in frame}  # fmt: skip
    else:
        columns = found.to_arrow().to_pydict()
    assert list(columns) == list(rows[0])
    for name, values in columns.items():
        assert [as_cell(name, value) for value in values] == [row[name] for row in rows], name


def test_pandas_columns_have_their_types_also_where_nothing_is_known():
    pandas = pytest.importorskip("pandas")
    table_ = neuron_table(seen())
    for frame in (table_.to_pandas(), table_.head(0).to_pandas()):
        for name in frame:
            want = "Int64" if name in COUNTS else "string" if name == "decided_by" else "float64"
            if name not in ("site", "state", "flags"):
                assert frame[name].dtype == want, name
        assert isinstance(frame["site"].dtype, pandas.CategoricalDtype)
        assert tuple(frame["state"].cat.categories) == STATES
    frame = table_.to_pandas()
    assert list(frame["site"].cat.categories) == ["/fc1/Relu", "/fc2/Relu"]
    assert frame["flags"].tolist()[:3] == [(), ("linear",), ("near_dead", "nonfinite")]
    assert frame["held_out_fired"].isna().tolist() == [False] * 4 + [True] * 3
    both = pandas.concat([frame, frame], ignore_index=True)
    assert (both.dtypes == frame.dtypes).all()


def test_arrow_columns_have_their_types_also_where_nothing_is_known():
    pa = pytest.importorskip("pyarrow")
    table_ = neuron_table(seen())
    full, empty = table_.to_arrow(), table_.head(0).to_arrow()
    assert full.schema == empty.schema
    types = {name: full.schema.field(name).type for name in full.column_names}
    category = pa.dictionary(pa.int32(), pa.string())
    special = {"site": category, "state": category, "flags": pa.list_(pa.string()), "decided_by": pa.string()}
    for name, kind in types.items():
        assert kind == special.get(name, pa.int64() if name in COUNTS else pa.float64()), name
    assert full.column("state").chunk(0).dictionary.to_pylist() == list(STATES)
    assert full.column("activation_rate").null_count == 1  # not known, and no NaN


def test_the_schema_s_metadata_say_where_the_numbers_come_from():
    pytest.importorskip("pyarrow")
    found = seen()
    metadata = {k.decode(): v.decode() for k, v in found.to_arrow().schema.metadata.items()}
    assert metadata["nla.schema"] == "nla/neuron-table/1"
    assert json.loads(metadata["nla.checkpoint"])["digest"] == "0" * 64
    assert json.loads(metadata["nla.data"])["digest"] == "1" * 64
    criteria = json.loads(metadata["nla.criteria"])
    assert {name: each["value"] for name, each in criteria.items()} == found.criteria.to_dict()


def test_a_row_per_site_has_the_numbers_of_the_sites():
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = seen()
    frame = found.to_pandas(per="site")
    assert frame["neurons"].tolist() == [4, 3]
    assert frame["specialised"].tolist() == [2, 0]
    assert [frame[state].sum() for state in STATES] == [found.summary[state] for state in STATES]
    assert frame["dead_share"].tolist() == [0.25, 0.0]
    arrow = found.to_arrow(per="site")
    assert arrow.column("active").to_pylist() == [1, 2]
    assert arrow.schema.metadata[b"nla.schema"] == b"nla/site-table/1"


def test_a_table_per_anything_else_is_refused():
    with pytest.raises(UsageError, match="'neuron' and 'site'"):
        seen().to_pandas(per="layer")


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_hostile_names_of_sites_go_through_as_they_are(library):
    pytest.importorskip(library)
    found = inspection([site_result(name, {"active": 1}) for name in HOSTILE])
    names = found.to_pandas()["site"] if library == "pandas" else found.to_arrow().column("site").to_pylist()
    assert list(names) == [name.replace("\ud800", "\\ud800") for name in HOSTILE]


def test_an_inspection_without_sites_makes_empty_frames():
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = inspection([])
    assert len(found.to_pandas()) == found.to_arrow().num_rows == 0
    assert len(found.to_pandas(per="site")) == found.to_arrow(per="site").num_rows == 0


@pytest.mark.parametrize(
    ("method", "library", "command"),
    [("to_pandas", "pandas", "pip install pandas"), ("to_arrow", "pyarrow", "pip install 'nla[arrow]'")],
)
def test_a_missing_library_is_one_line_that_says_what_to_install(monkeypatch, method, library, command):
    monkeypatch.setitem(sys.modules, library, None)
    for owner in (seen(), neuron_table(seen())):
        with pytest.raises(MissingExtraError) as caught:
            getattr(owner, method)()
        assert str(caught.value).endswith(command)
        assert "\n" not in str(caught.value)


def test_parquet_comes_back_as_it_was_and_has_the_same_bytes_each_time():
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = neuron_table(seen())
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        table.write_parquet(rows, file)
    assert files[0].getvalue() == files[1].getvalue()
    files[0].seek(0)
    back, want = parquet.read_table(files[0]), rows.to_arrow()
    assert back.schema.equals(want.schema)
    assert back.schema.metadata == want.schema.metadata
    assert [str(row) for row in back.to_pylist()] == [str(row) for row in want.to_pylist()]
    assert any(math.isinf(margin) for margin in back.column("margin").to_pylist() if margin is not None)
