"""A checked gate as JSON, `schemas/check-1.schema.json`."""

from __future__ import annotations

from nla.gate.results import Checked
from nla.rendering.strict_json import json_text


def render(checked: Checked) -> str:
    """The document."""
    return json_text(checked.to_dict())
