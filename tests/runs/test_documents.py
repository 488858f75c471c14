"""Documents of strangers: what no inspection has is refused in one line, and nothing else is raised."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_cases import rich, written

from nla.errors import RecordingError
from nla.runs import reading
from nla.runs.of_document import from_document
from nla.runs.run import Run
from nla.verbs.runs import open_runs

HONEST = written(rich())
Change = Callable[[dict[str, Any]], None]


def put(*keys: str | int, value: Any) -> Change:
    def change(document: Any) -> None:
        *path, last = keys
        for key in path:
            document = document[key]
        document[last] = value

    return change


def drop(*keys: str | int) -> Change:
    def change(document: Any) -> None:
        *path, last = keys
        for key in path:
            document = document[key]
        del document[last]

    return change


def changed(*changes: Change) -> dict[str, Any]:
    document = copy.deepcopy(HONEST)
    for change in changes:
        change(document)
    return document


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


SITE, ROW = ("sites", 0), ("sites", 0, "rows", 1)
REFUSED: dict[str, tuple[Change, str]] = {
    "a later version": (
        put("schema", value="nla/inspection/2"),
        "of a later version of nla: schema nla/insp",
    ),
    "a version of many digits": (put("schema", value="nla/inspection/" + "9" * 5000), "of a later version"),
    "a document of weights": (put("schema", value="nla/weights/1"), "saw no activation"),
    "a manifest": (put("schema", value="nla/manifest/1"), "schema nla/manifest/1, expected nla/inspection/1"),
    "no schema": (drop("schema"), "no document of nla"),
    "a schema that is a number": (put("schema", value=1), "no document of nla"),
    "no sites": (drop("sites"), "the document has no sites"),
    "sites that are an object": (put("sites", value={}), "sites is an object, expected a list"),
    "a site that is text": (
        put("sites", 1, value="relu"),
        r"sites\[1\] is 'relu', expected a list of objects",
    ),
    "two sites of one name": (put("sites", 1, "name", value="relu"), "two of its sites bear one name"),
    "a role that no site has": (
        put(*SITE, "role", value="wheel"),
        "role is 'wheel', expected one of mlp_pre",
    ),
    "no neurons": (put(*SITE, "neurons", value=0), "neurons is 0, expected a whole number from 1 to"),
    "neurons beyond all memory": (put(*SITE, "neurons", value=10**15), "neurons is 1000000000000000"),
    "neurons that are true": (put(*SITE, "neurons", value=True), "neurons is True"),
    "counts that do not sum": (put(*SITE, "counts", "dead", value=2), "counts sum to 4, expected 3"),
    "a negative count": (put(*SITE, "counts", "dead", value=-1), "counts.dead is -1"),
    "a state that nobody knows": (put(*SITE, "counts", "asleep", value=0), "holds 'asleep', expected dead"),
    "a state left out": (drop(*SITE, "counts", "unknown"), "counts has no unknown"),
    "more flags than neurons": (put(*SITE, "flags", "linear", value=4), "flags.linear is 4"),
    "more silent samples than samples": (put(*SITE, "silent_samples", value=5), "silent_samples is 5"),
    "more killed than silent samples": (put(*SITE, "killed_samples", value=1), "killed_samples is 1"),
    "a negative effective rank": (put(*SITE, "effective_rank", value=-1), "effective_rank is -1"),
    "a bound above 1": (put(*SITE, "bounds", "dead_jointly", value=1.5), "dead_jointly is 1.5"),
    "truth that is a number": (put(*SITE, "bottleneck", value=1), "bottleneck is 1, expected true or false"),
    "upstream that holds numbers": (put(*SITE, "upstream", value=[1]), r"upstream\[0\] is 1"),
    "edges out of order": (put(*SITE, "histogram", "inner_edges", value=[1, 0]), "inner_edges are not incr"),
    "a bin too few": (put(*SITE, "histogram", "counts", value=[11]), "counts are not 3 whole numbers"),
    "bins that do not sum": (put(*SITE, "histogram", "values", value=12), "counts sum to 11, expected 12"),
    "more woken than dead": (put(*SITE, "held_out", "dead_that_fired", value=2), "dead_that_fired is 2"),
    "a row too few": (drop(*ROW), "has 2 rows, expected one for each of 3"),
    "rows that are a number": (put(*SITE, "rows", value=3), "rows is 3, expected a list"),
    "a row out of place": (put(*ROW, "index", value=2), r"rows\[1\].index is 2, expected 1"),
    "a row of another state": (put(*ROW, "state", value="dead"), "1 neurons of the state dead, and its rows"),
    "a state that no neuron has": (
        put(*ROW, "state", value="asleep"),
        "state is 'asleep', expected one of dead",
    ),
    "a state that is a list": (put(*ROW, "state", value=["dead"]), "state is a list, expected a string"),
    "a flag that no neuron has": (put(*ROW, "flags", value=["tired"]), "flags is a list, expected a list of"),
    "a flag that is an object": (put(*ROW, "flags", value=[{}]), "flags is a list, expected a list of"),
    "a flag twice": (put(*ROW, "flags", value=["linear", "linear"]), "different flags"),
    "a flag that was not counted": (
        put(*ROW, "flags", value=[]),
        "2 neurons of the flag linear, and its rows",
    ),
    "a column too few": (drop(*ROW, "mean"), r"rows\[1\] has other columns than the first row: mean"),
    "a number that is text": (
        put(*ROW, "mean", value="1"),
        r"rows\[1\].mean is '1', expected a number or null",
    ),
    "a number that is true": (put(*ROW, "mean", value=True), r"rows\[1\].mean is True"),
    "a number of 400 digits": (put(*ROW, "mean", value=10**400), r"rows\[1\].mean is 1000"),
    "a share above 1": (
        put(*ROW, "activation_rate", value=1.5),
        r"activation_rate is 1.5, expected null or a",
    ),
    "a count that is a fraction": (put(*ROW, "samples", value=1.5), r"rows\[1\].samples is 1.5"),
    "a count of 400 digits": (put(*ROW, "samples", value=10**400), r"rows\[1\].samples is 1000"),
    "text that is a number": (put(*ROW, "decided_by", value=1), r"rows\[1\].decided_by is 1, expected text"),
    "no digest": (drop("checkpoint", "digest"), "checkpoint has no digest"),
    "a digest that is a number": (put("data", "digest", value=1), "data.digest is 1"),
    "a path that is an object": (put("checkpoint", "path", value={}), "checkpoint.path is an object"),
    "a replay nested deep": (put("replay", "x", value=nested(40)), "replay is nested deeper than 16 levels"),
    "a size of 400 digits": (put("data", "limit", value=10**400), "data holds a number that is infinite or"),
    "a criterion that is a number": (
        put("criteria", "weak_bound", value=1),
        "weak_bound is 1, expected an obj",
    ),
    "a criterion without a value": (drop("criteria", "weak_bound", "value"), "weak_bound has no value"),
    "a criterion that is text": (
        put("criteria", "weak_bound", "value", value="x"),
        "value is 'x', expected a",
    ),
    "a finding without words": (drop("findings", 0, "symptom"), r"findings\[0\] has no symptom"),
    "labels without their counts": (put("labels", "samples", value=[1]), "labels.samples is"),
    "notes that are text": (put("notes", value="n"), "notes is 'n', expected a list"),
    "living data that is strange": (put("living", "dead_layers", value=[1]), r"dead_layers\[0\] is 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_inspection_has_is_refused_by_its_place_and_value(name):
    change, said = REFUSED[name]
    with pytest.raises(RecordingError, match=said) as refused:
        from_document(changed(change), "r")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_names_are_escaped_in_what_is_said():
    with pytest.raises(RecordingError) as refused:
        from_document(changed(put(*SITE, "counts", "\x1b[31m\n", value=1)), "r")
    assert str(refused.value).isprintable()


def test_what_is_not_read_is_passed_over():
    from_document(changed(put("news", value={"of": "a later 1"}), put(*SITE, "colour", value="red")), "r")


WORTHLESS = {
    "an empty file": (b"", "an empty file; expected a recording"),
    "spaces alone": (b" \n", "an empty file"),
    "text": (b"dead: 3", "neither HDF5 nor JSON; expected a recording"),
    "bytes": (b"\x00\xff\xfe", "neither HDF5 nor JSON in UTF-8"),
    "a list": (b"[]", "its JSON is no object"),
    "a document cut short": (json.dumps(HONEST).encode()[:-40], "not valid JSON; is it truncated"),
    "a key twice": (b'{"a": 1, "a": 2}', "the key 'a' comes twice"),
    "NaN": (b'{"a": NaN}', "NaN is no JSON number"),
    "minus infinity": (b'{"a": -Infinity}', "-Infinity is no JSON number"),
    "a number beyond a double": (
        json.dumps(HONEST).replace('"seconds": 0.5', '"seconds": 1e999').encode(),
        "replay holds a number that is infinite",
    ),
    "a number of 5,000 digits": (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON: "),
    "a bottomless list": (b"[" * 100_000, "nested too deep"),
    "half a character": (b'{"a": "\\ud800"}', "half a surrogate pair"),
}


@pytest.mark.parametrize("name", WORTHLESS)
def test_a_worthless_file_is_refused_by_its_name(name, tmp_path):
    content, said = WORTHLESS[name]
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=f"^{path}: .*{said}"):
        open_runs([path], rows=False)


def test_a_document_without_rows_is_refused_where_they_are_needed(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(written(rich(), neurons=False)))
    assert open_runs([path], rows=False)[0].summary["dead"] == 1
    with pytest.raises(RecordingError, match="has no row for each neuron: write it with nla inspect --json"):
        open_runs([path], rows=True)


def test_a_file_of_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "run.json"
    path.touch()
    os.truncate(path, reading.LARGEST_BYTES + 1)
    with pytest.raises(RecordingError, match=r"has 1,073,741,825 bytes, and at most 1,073,741,824 are read"):
        open_runs([path], rows=False)


def test_a_bomb_of_brackets_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(reading, "_MOST_THINGS", 1000)
    with pytest.raises(RecordingError, match="lists 2,001 things, and at most 1,000 are read"):
        reading.json_value(b"[" + b"[]," * 1000 + b"0]")


def test_pipes_folders_and_absent_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "is a folder or device"),
        (tmp_path, "is a folder or device"),
        (tmp_path / "gone.json", "no such file"),
        ("a\0b", "NUL"),
    ):
        with pytest.raises(RecordingError, match=said):
            open_runs([path], rows=False)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, member in inner for each in ((*path, key), *places(member, (*path, key)))]


PLACES = places(HONEST)
WORDS = st.sampled_from(["dead", "relu", "clip", "linear", "nla/inspection/1", "\ud800", "", "\x1b[0m"])
NUMBERS = st.sampled_from([0, 1, -1, 3, 0.5, -0.0, 2**63, 10**400, 1e308, float("inf"), float("nan")])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def made(read: Callable[[], Run]) -> Run | None:
    """The run; None where it was refused, in one line."""
    said = ""
    try:
        return read()
    except RecordingError as error:
        said = str(error)
    assert said.isprintable()
    return None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_any_change_makes_a_run_or_one_clear_line(changes):
    document = copy.deepcopy(HONEST)
    for path, value in changes:
        try:
            put(*path, value=value)(document)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    run = made(lambda: from_document(document, "r"))
    assert run is None or all(sum(site.counts.values()) == site.neurons for site in run.sites)


def test_any_cut_or_flipped_byte_makes_a_run_or_one_clear_line():
    honest, chance = json.dumps(HONEST).encode(), random.Random(0)
    for _ in range(200):
        spoilt = bytearray(honest[: chance.choice([len(honest), chance.randrange(len(honest))])])
        for _ in range(chance.randrange(3)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        made(lambda content=bytes(spoilt): from_document(reading.json_object(content), "r"))
