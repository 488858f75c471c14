"""JSON that every reader takes: no NaN, no lone surrogates, one newline at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def json_text(document: Mapping[str, Any], indent: int | None = 1) -> str:
    r"""`document` as JSON, in the order of its keys: the same document gives the same bytes.

    ASCII only, because a name from a file may hold what UTF-8 cannot.

    Raises:
        ValueError: a number that is not finite. It is for the document to say `null`.

    >>> json_text({"dead": 413, "name": "φ"})
    '{\n "dead": 413,\n "name": "\\u03c6"\n}\n'
    """
    return json.dumps(document, allow_nan=False, ensure_ascii=True, indent=indent) + "\n"
