"""The criteria as TOML, every threshold with what it means."""

from __future__ import annotations

import textwrap

from nla.lifecycle.criteria import Criteria

_WIDTH = 100


def criteria_toml(criteria: Criteria) -> str:
    """A TOML file that `--criteria` reads back as `criteria`.

    >>> "dormancy_threshold = 0.025" in criteria_toml(Criteria()).splitlines()
    True
    """
    parts = []
    for name, about in criteria.describe().items():
        meaning = textwrap.wrap(about["meaning"][0].upper() + about["meaning"][1:] + ".", _WIDTH - 2)
        facts = textwrap.wrap(
            f"Unit: {about['unit']}; range {about['range']}; source: {about['source']}.", _WIDTH - 2
        )
        comment = "".join(f"# {line}\n" for line in [*meaning, *facts])
        parts.append(f"{comment}{name} = {about['value']!r}\n")
    return "\n".join(parts)
