"""`nla sites`: what there is to inspect; no data, no run."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, parameters
from nla.cli.command import command
from nla.cli.options import checkpoint, measuring, writing


@command(
    "sites",
    (
        checkpoint.model,
        checkpoint.constants,
        checkpoint.include,
        *checkpoint.CONSTRUCTION,
        writing.json_file,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla sites model.onnx",
        "nla sites checkpoint/",
        "nla sites model.onnx --set state=0 --set sr=16000",
    ),
)
def sites(json_file: str | None, **given: Any) -> None:
    """List the layers of neurons of MODEL; no data, no run.

    A site is where a layer of neurons is observed: producer, activation, channel axis. What looks like one
    and was not understood is listed too, with the reason.
    """
    outputs.check([json_file], [given["model"], given["graph"]])
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)

    from nla import api

    survey = api.sites(**given)
    if json_file:
        from nla.rendering.strict_json import json_text
        from nla.rendering.survey import survey_document

        outputs.put(json_file, json_text(survey_document(survey)))
    if json_file != outputs.STANDARD_OUTPUT:
        from nla.rendering.survey import print_survey

        print_survey(survey)
