"""What `nla sites` shows, as a document and as text."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema

from nla.activations import Activation
from nla.rendering.strict_json import json_text
from nla.rendering.survey import print_survey, survey_document
from nla.rendering.terminal import console
from nla.site import Consumer, Input, NotUnderstood, Producer, Site, Survey

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "schemas" / "sites-1.schema.json").read_text())
SITE = Site(
    "relu1",
    "conv",
    Activation.named("Clip", min=0.0, max=6.0),
    24,
    (-3,),
    4,
    pre="conv1",
    producers=(
        Producer("conv1", "Conv", "w1", "b1", 0, groups=24),
        Producer("bn", "BatchNormalization", "g"),
    ),
    consumers=(Consumer("conv2", "Conv", "w2", 1, "relu2", 90),),
    upstream=("relu0",),
    coupled=("relu3",),
    parameters_in=12,
)
SURVEY = Survey(
    sites=(SITE, Site("lstm", "recurrent", Activation.named("LSTM"), 64, (-3, -1))),
    not_understood=(NotUnderstood("loop", "Loop", "bodies of Loop are left alone"),),
    inputs=(Input("x", "float32", (1, "height", None)), Input("state", "float32", None)),
    outputs=("y",),
    parameters=1234,
    checkpoint={"path": "model.onnx", "format": "onnx", "digest": "0" * 64, "bytes": 5000},
    notes=("a function was inlined",),
)


def text(survey: Survey, width: int = 100) -> str:
    out = io.StringIO()
    print_survey(survey, console(out, width))
    return out.getvalue()


def test_the_document_keeps_to_its_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json_text(survey_document(SURVEY))), SCHEMA)


def test_the_document_uses_the_words_of_the_inspection_document():
    site = survey_document(SURVEY)["sites"][0]
    assert site["activation"] == "Clip"
    assert site["activation_parameters"] == {"min": 0.0, "max": 6.0}
    assert site["channel_axis"] == 1
    assert site["parameters_per_neuron"] == 12


def test_a_line_for_each_site_and_for_each_place_that_was_not_understood():
    shown = text(SURVEY)
    assert "relu1" in shown
    assert "Conv/24 + BatchNormalization" in shown
    assert "-3, -1" in shown
    assert "Loop loop: bodies of Loop are left alone" in shown
    assert "a function was inlined" in shown
    assert "x  float32 [1, height, ?]" in shown
    assert "2 sites, 88 neurons" in shown


def test_long_names_fit_100_columns():
    sites = tuple(
        Site(
            f"/model/encoder/layers.{i}/mlp/intermediate_act_fn/Mul_1_output_0",
            "mlp_post",
            SITE.activation,
            3072,
        )
        for i in range(200)
    )
    shown = text(Survey(sites, (), (), (), 0, {"path": "m" * 40}))
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("mlp_post") == 200


def test_a_hostile_name_is_escaped():
    name = "\x1b[31m[bold]"
    shown = text(
        Survey((), (NotUnderstood(name, name, name),), (Input(name, name, (name,)),), (), 0, {"path": name})
    )
    assert "\x1b" not in shown
    assert "[bold]" in shown
