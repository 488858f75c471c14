"""The document: valid against its schema, strict JSON, and the numbers of a hand-worked net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspections import inspection, site_result
from jsonschema import Draft202012Validator
from measured import FILES, judged, measure, network, site

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.document import document
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import FLAGS, STATES, Inspection
from nla.site import ROLES, NotUnderstood, Producer
from nla.statistics.measurements import Histogram

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/inspection-1.schema.json").read_text("utf-8"))


def rich() -> Inspection:
    """Two sites with all that a document can hold: labels, a second split, histograms, NaN, infinities."""
    first = site("relu", 3, producers=(Producer("fc", "Gemm", "w"),), upstream=(), parameters_in=5)
    second = site(
        "clip", 2, "Clip", phi_parameters={"min": 0, "max": 6}, rank=4, channel_axes=(-3,), role="conv"
    )
    a = np.array([[0.0, 1.0, np.nan], [0.0, 3.0, 1.0], [0.0, 2.0, 4.0], [0.0, 2.0, 2.0]])
    z = np.array([[-2.0, 1.0, 0.5], [-2.0, 3.0, 1.0], [-2.0, 2.0, 4.0], [-2.0, 2.0, 2.0]])
    edges = np.array([-np.inf, 0.0, 1.0, np.inf])
    histogram = Histogram(edges, np.array([4, 3, 4]), 11, True)
    measurements = {
        "relu": measure(a, first.activation, z, labels=[0, 0, 1, 1], histogram=histogram),
        "clip": measure(np.full((4, 2), 6.0), second.activation, effective_rank=float("nan")),
    }
    held_out = {"relu": measure([[1.0, 1.0, 1.0]], first.activation)}
    odd = (NotUnderstood("/Scan", "Scan", "bodies of loops are left alone"),)
    return judge(
        [first, second], measurements, held_out, Criteria(), not_understood=odd, notes=["n"], **FILES
    )


def strictly(plain: Any) -> Any:
    """Through strict JSON and back."""
    return json.loads(json.dumps(plain, allow_nan=False))


@pytest.mark.parametrize("neurons", [False, True])
def test_a_document_is_valid_and_strict_json(neurons: bool) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    plain = document(rich(), neurons=neurons)
    Draft202012Validator(SCHEMA).validate(plain)
    assert strictly(plain) == plain


def test_a_document_without_sites_is_valid() -> None:
    Draft202012Validator(SCHEMA).validate(document(network()))


def test_fields_that_others_build_on() -> None:
    plain = document(rich())
    assert plain["schema"] == "nla/inspection/1"
    assert plain["summary"]["neurons"] == 5
    assert plain["summary"]["dead"] == 1
    relu, clip = plain["sites"]
    assert (relu["name"], relu["role"], relu["activation"], relu["neurons"]) == ("relu", "dense", "Relu", 3)
    assert (relu["channel_axis"], relu["samples"], relu["positions"]) == (1, 4, 4)
    assert relu["counts"] == dict.fromkeys(STATES, 0) | {"dead": 1, "specialised": 0, "active": 2}
    assert relu["dead_share"] == pytest.approx(1 / 3)
    assert relu["nonfinite"] == 1
    assert relu["held_out"] == {"samples": 1, "positions": 1, "dead_that_fired": 1}
    assert relu["histogram"] == {"inner_edges": [0.0, 1.0], "counts": [4, 3, 4], "values": 11, "exact": True}
    assert relu["bounds"]["silent_neuron"] == pytest.approx(1 - 0.05**0.25)
    assert relu["bounds"]["dead_jointly"] == pytest.approx(1 - (0.05 / 3) ** 0.25)
    assert relu["label_information"]["response"] == "z > 0"
    assert (clip["activation"], clip["activation_parameters"]) == ("Clip", {"min": 0.0, "max": 6.0})
    assert (clip["channel_axis"], clip["counts"]["constant"]) == (1, 2)
    assert (clip["effective_rank"], clip["effective_capacity"], clip["held_out"]) == (None, None, None)
    assert plain["labels"] == {"names": ["0", "1"], "samples": [2, 2]}
    assert plain["criteria"]["dormancy_threshold"]["value"] == 0.025
    assert plain["not_understood"][0]["op_type"] == "Scan"


def test_rows_hold_every_column_of_every_neuron() -> None:
    inspection = rich()
    plain = document(inspection, neurons=True)
    for result, entry in zip(inspection.sites, plain["sites"], strict=True):
        assert [row["index"] for row in entry["rows"]] == list(range(result.site.neurons))
        assert [row["state"] for row in entry["rows"]] == result.states.tolist()
        assert all(list(row)[3:] == list(result.columns) for row in entry["rows"])
    first = plain["sites"][0]["rows"][0]
    assert first["margin"] is None  # z never varies: the margin is infinite
    assert first["held_out_fired"] == 1


def test_the_schema_describes_every_field_and_knows_the_words() -> None:
    properties = SCHEMA["$defs"]["site"]["properties"]
    assert list(properties["counts"]["properties"]) == list(STATES)
    assert SCHEMA["$defs"]["flags"]["required"] == list(FLAGS)
    assert properties["role"]["enum"] == list(ROLES)
    assert all("description" in about or "$ref" in about for about in properties.values())
    columns = set(
        judged(np.full((4, 3), 0.5), site(phi="Sigmoid"), labels=[0, 1, 0, 1], held_out=[[1, 1, 1]]).columns
    )
    assert columns <= set(SCHEMA["$defs"]["neuron"]["properties"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "nla/inspection/2"),
        (("sites", 0, "role"), "hidden"),
        (("sites", 0, "dead_share"), 1.5),
        (("sites", 0, "counts", "zombie"), 1),
        (("sites", 0, "surprise"), 1),
        (("summary", "neurons"), -1),
        (("checkpoint",), {}),
    ],
)
def test_the_schema_refuses_what_is_not_a_document(path: tuple[Any, ...], value: Any) -> None:
    plain = strictly(document(rich()))
    place = plain
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not Draft202012Validator(SCHEMA).is_valid(plain)


def test_an_inspection_gives_its_document():
    seen = inspection([site_result("relu", {"dead": 2, "active": 1})])
    assert seen.to_dict() == document(seen)
    assert [len(site["rows"]) for site in seen.to_dict(neurons=True)["sites"]] == [3]
