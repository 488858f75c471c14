"""A checked gate as GitHub's workflow commands: annotations on the run and on the model file.

One line for each rule that does not hold, and the verdict as the last line. GitHub shows ten errors and ten warnings a
step; all of them are in the log. Syntax: docs.github.com, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from collections.abc import Iterator

from nla.gate.results import Checked, RuleResult
from nla.rendering.gate.words import advice, file_of, verdict
from nla.rendering.words import whole


def render(checked: Checked) -> str:
    """The lines, errors before warnings."""
    return "".join(f"{line}\n" for line in _lines(checked))


def _lines(checked: Checked) -> Iterator[str]:
    for result in (*checked.failed, *checked.warned):
        yield _command(checked, result)
    for note in checked.notes:
        yield f"::notice title=nla check::{_data(whole(note))}"
    yield f"nla check: {verdict(checked)}"


def _command(checked: Checked, result: RuleResult) -> str:
    properties = {"file": file_of(checked, result), "title": f"nla check: {result.rule.name}"}
    told = ",".join(f"{name}={_property(whole(value))}" for name, value in properties.items() if value)
    said = f"{whole(result.run)}: {' '.join(advice(result))}"
    return f"::{result.severity} {told}::{_data(said)}"


def _data(text: str) -> str:
    """The message of a command; '%' first, or the others would be escaped twice."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """The value of a property, which ends at ':' and ','."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
