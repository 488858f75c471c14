"""The manifest's file: what is written is read back, what cannot be is one clear line."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nla.errors import UsageError
from nla.manifest.document import Action, Declined, Manifest, Weight, loads, read
from nla.manifest.parameters import KINDS

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/manifest-1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PARAMETERS: dict[str, dict[str, Any]] = {
    "remove": {},
    "fold": {"values": [0.5, 0.25]},
    "merge": {"into": [5, 6], "scales": [1.0, 2.0]},
    "mask": {},
    "strip": {"fraction": 0.2},
    "strip-contribution": {"fraction": 0.05, "input_mean": [0.0, 1.0]},
    "reset": {"scheme": "he", "seed": 3, "means": [0.0, 0.0]},
    "shift": {"delta": [1.0, 2.0], "zero_outgoing": False, "target_rate": 0.01},
    "flip": {},
    "swap": {"to": "Gelu"},
}


def manifest(*actions: Action, **settings: Any) -> Manifest:
    return Manifest({"path": "m.onnx", "digest": "0" * 64, "bytes": 3}, actions=actions, **settings)


def action(kind: str = "remove", units: tuple[int, ...] = (1, 3), **settings: Any) -> Action:
    given = {"id": "a1", "site": "relu", "parameters": PARAMETERS[kind], **settings}
    return Action(kind=kind, units=units, **given)


def good() -> dict[str, Any]:
    return manifest(action()).to_dict()


def test_every_kind_is_read_back_as_it_was_written_and_fits_the_schema():
    VALIDATOR.check_schema(SCHEMA)
    for kind in KINDS:
        made = manifest(
            action(
                kind,
                evidence={"samples": 9, "state": ["dead", "dormant"], "margin": [0.5, None]},
                effect={"units": 2},
                weights=(Weight("w", (4, 2), 0, True), Weight("v", None, 1, False, None)),
            ),
            declined=(Declined("fold", "relu", (2,), "why"),),
            notes=("a note",),
        )
        assert loads(made.dumps()) == made
        assert loads(made.dumps()).dumps() == made.dumps()
        VALIDATOR.validate(json.loads(made.dumps()))


def test_a_hand_written_manifest_needs_little():
    plain = {
        "schema": "nla/manifest/1",
        "checkpoint": {"digest": "0" * 64},
        "actions": [{"kind": "remove", "site": "relu", "units": [4]}],
    }
    text = json.dumps(plain)
    read_back = loads(text)
    assert read_back.actions == (Action("a1", "remove", "relu", (4,)),)
    VALIDATOR.validate(json.loads(text))


def test_a_unit_may_be_struck_and_its_values_may_stay():
    plain = manifest(action("fold", evidence={"min": [0.5, 0.25]})).to_dict()
    plain["actions"][0]["units"].remove(1)
    struck = Manifest.from_dict(plain).actions[0]
    assert struck.units == (3,)
    assert struck.parameters == {"values": [0.25]}
    assert struck.evidence == {"min": [0.25]}


def test_a_unit_that_is_added_needs_what_the_action_needs():
    plain = manifest(action("fold")).to_dict()
    plain["actions"][0]["units"].append(9)
    with pytest.raises(UsageError, match="values has no value for unit 9"):
        Manifest.from_dict(plain)


def test_one_value_for_all_units_stands_once():
    plain = action("reset").to_dict()
    assert plain["parameters"]["means"] == 0.0
    assert action("shift").to_dict()["parameters"]["delta"] == {"1": 1.0, "3": 2.0}


def test_a_number_that_json_does_not_have_is_never_written():
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest(action(effect={"parameters": float("nan")})).dumps()


def test_lists_of_numbers_stand_on_one_line_and_every_action_on_its_own():
    text = manifest(action(units=tuple(range(400))), action("mask", id="a2", site="tanh")).dumps()
    line = next(line for line in text.splitlines() if '"units"' in line)
    assert line.count(",") == 400
    assert text.count('"kind"') == len([line for line in text.splitlines() if '"kind"' in line]) == 2
    assert text.endswith("}\n")
    assert text.isascii()


def changes() -> dict[str, Any]:
    def first(**fields: Any) -> Any:
        return lambda m: m["actions"][0].update(fields)

    def parameters(kind: str, **fields: Any) -> Any:
        return lambda m: m["actions"][0].update(kind=kind, parameters={**PARAMETERS[kind], **fields})

    return {
        "no actions": (lambda m: m.pop("actions"), "field actions is missing"),
        "no checkpoint": (lambda m: m.pop("checkpoint"), "field checkpoint is missing"),
        "no digest": (lambda m: m["checkpoint"].pop("digest"), "checkpoint.digest is missing"),
        "a short digest": (lambda m: m["checkpoint"].update(digest="abc"), "expected the sha256"),
        "a later schema": (lambda m: m.update(schema="nla/manifest/99"), "later version of nla"),
        "another schema": (lambda m: m.update(schema="nla/inspection/1"), "not a manifest"),
        "no schema": (lambda m: m.pop("schema"), "not a manifest"),
        "an unknown field": (lambda m: m.update(action=[]), "did you mean actions"),
        "actions as an object": (lambda m: m.update(actions={}), "actions is an object, expected a list"),
        "an action as a number": (lambda m: m.update(actions=[3]), "action 1 is a number"),
        "an unknown kind": (first(kind="explode"), "kind is 'explode', expected one of remove"),
        "a kind as a list": (first(kind=["remove"]), r"kind is \['remove'\]"),
        "a kind of declined ones": (first(kind="repair"), "kind is 'repair'"),
        "no site": (lambda m: m["actions"][0].pop("site"), "field site is missing"),
        "an empty site": (first(site=""), "expected the name of a site"),
        "no units": (lambda m: m["actions"][0].pop("units"), "field units is missing"),
        "units as a number": (first(units=3), "units is a number, expected a list"),
        "a negative unit": (first(units=[1, -1]), "unit -1 is not an index"),
        "a unit twice": (first(units=[1, 3, 1]), "unit 1 stands twice"),
        "a fractional unit": (first(units=[1.0]), "unit 1.0 is not an index"),
        "a truth value as unit": (first(units=[True]), "unit True is not an index"),
        "a text as unit": (first(units=["1"]), "unit '1' is not an index"),
        "an enormous unit": (first(units=[10**400]), "is not an index"),
        "an unknown field of an action": (first(unit=[1]), "did you mean units"),
        "an id that is a number": (first(id=3), "id is 3"),
        "an unknown parameter": (parameters("strip", fractoin=1), "did you mean fraction"),
        "a missing parameter": (first(kind="strip"), "strip needs the parameter fraction"),
        "a share above 1": (
            parameters("strip", fraction=1.5),
            r"fraction is 1.5, expected a share in \(0, 1\]",
        ),
        "a share of 0": (parameters("strip", fraction=0), "expected a share"),
        "a scheme unheard of": (parameters("reset", scheme="xavier"), "one of he, glorot, lecun"),
        "a negative seed": (parameters("reset", seed=-1), "seed is -1"),
        "an enormous seed": (parameters("reset", seed=2**63), "seed is 9223372036854775808"),
        "an enormous number": (parameters("fold", values=10**400), "expected a number"),
        "a negative scale": (parameters("merge", scales=[1, -1]), "scales is -1, expected a number above 0"),
        "a target that is no index": (parameters("merge", into=[1.5, 2]), "into is 1.5"),
        "too few values": (parameters("fold", values=[1.0]), "1 values for 2 units"),
        "a text for a switch": (parameters("shift", zero_outgoing="no"), "expected true or false"),
        "an unknown activation": (parameters("swap", to="Relu7"), "expected one of LeakyRelu"),
        "an input mean of texts": (
            parameters("strip-contribution", input_mean=["a"]),
            "expected a list of numbers or null",
        ),
        "evidence as a list": (first(evidence=[]), "evidence is a list"),
        "weights as an object": (first(weights={}), "weights is an object"),
        "a weight without an axis": (first(weights=[{"name": "w", "incoming": True}]), "does not say where"),
        "notes of numbers": (lambda m: m.update(notes=[3]), "expected a sentence"),
        "declined without a reason": (
            lambda m: m.update(declined=[{"kind": "fold", "site": "relu", "units": []}]),
            "declined entry 1: reason is missing",
        ),
        "an id twice": (
            lambda m: m["actions"].append({**m["actions"][0], "units": [7]}),
            "is that of action 1 too",
        ),
        "a unit cut twice": (
            lambda m: m["actions"].append(
                {"kind": "fold", "site": "relu", "units": [3], "parameters": {"values": 1}}
            ),
            "unit 3 of relu stands in the actions a1 \\(remove\\) and a2 \\(fold\\)",
        ),
        "a merge into a unit that goes": (
            lambda m: m["actions"].append(
                {"kind": "merge", "site": "relu", "units": [7], "parameters": {"into": [3], "scales": [1]}}
            ),
            "merges into unit 3 of relu, which action a1 cuts",
        ),
    }


@pytest.mark.parametrize("name", changes())
def test_nonsense_is_one_line_that_names_it(name):
    change, message = changes()[name]
    plain = deepcopy(good())
    change(plain)
    with pytest.raises(UsageError, match=message) as caught:
        Manifest.from_dict(plain, "m.json")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("m.json: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x08\x01\xff\xfe", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
        ("[]", "not a manifest: a list"),
        ("null", "not a manifest: null"),
        ('{"schema": "nla/manifest/1", "schema": "nla/manifest/1"}', "'schema' stands twice"),
        ('{"schema": NaN}', "NaN is no number of JSON"),
    ],
)
def test_what_is_no_manifest_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        loads(text, "m.json")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="not a regular file"):
        read(tmp_path)
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        read(tmp_path / ("m" * 300))
    path = tmp_path / "m.json"
    path.write_text(manifest(action()).dumps())
    assert read(path) == manifest(action())


def test_names_from_the_file_are_made_printable():
    plain = good()
    plain["actions"][0].update(site="relu\x1b[31m", units=[1, 1])
    with pytest.raises(UsageError) as caught:
        Manifest.from_dict(plain)
    assert "\x1b" not in str(caught.value)


def refused_in_one_line(plain: dict[str, Any]) -> None:
    """The manifest is read, or refused as a user can understand."""
    said = "read"
    try:
        Manifest.from_dict(plain)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    place=st.sampled_from(["schema", "checkpoint", "actions", "declined", "notes", "worth", "nla"]),
    value=JSON,
)
def test_any_value_anywhere_is_read_or_refused(place, value):
    plain = good()
    plain[place] = value
    refused_in_one_line(plain)


@given(place=st.sampled_from(sorted(good()["actions"][0])), value=JSON, kind=st.sampled_from(KINDS))
def test_any_value_in_an_action_is_read_or_refused(place, value, kind):
    plain = good()
    plain["actions"][0].update(kind=kind, parameters=PARAMETERS[kind])
    plain["actions"][0][place] = value
    refused_in_one_line(plain)
