"""A checked gate in the formats that people and pipelines read: one file a format."""

from __future__ import annotations

from nla.gate.results import Checked
from nla.rendering.gate import github, json, junit, prometheus, sarif, text

FORMATS = {
    "text": text.render,
    "json": json.render,
    "junit": junit.render,
    "sarif": sarif.render,
    "github": github.render,
    "prometheus": prometheus.render,
}
"""What writes each format: from the result to the whole of the text. The same result gives the same text."""


def render(checked: Checked, report_format: str) -> str:
    """The result in one of FORMATS, a newline at its end."""
    return FORMATS[report_format](checked)
