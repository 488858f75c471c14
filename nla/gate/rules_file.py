"""rules.toml: a table `[[rule]]` for each rule."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from nla.errors import UsageError, one_line, printable
from nla.gate.rules import Rule, from_mapping, near

_LARGEST_BYTES = 1 << 14  # the parser needs a second for the worst of it, and 16 for four times as much


def read(path: str | Path) -> list[Rule]:
    """The rules of a TOML file, in its order.

    Raises:
        UsageError: a file that cannot be read, is not TOML, holds no rule or one that is none; names the file, the
            rule by its number from 1, the key and the value.
    """
    told = printable(path)
    document = _read_toml(Path(path), told)
    for key in document:
        if key != "rule":
            raise UsageError(f"{told}: no table {one_line(repr(key), 80)}; {near(key, ['rule'])}")
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{told}: rule is no list of tables; begin each rule with a line [[rule]]")
    if not tables:
        raise UsageError(
            f'{told}: no rule; expected [[rule]] and below it metric = "dead" and max = "5%", say'
        )
    rules = [from_mapping(table, f"{told}: rule {number}") for number, table in enumerate(tables, 1)]
    _check_names(rules, tables, told)
    return rules


def _check_names(rules: list[Rule], tables: list[dict[str, Any]], told: str) -> None:
    first: dict[str, int] = {}
    for number, (rule, table) in enumerate(zip(rules, tables, strict=True), 1):
        if "name" in table and first.setdefault(rule.name, number) != number:
            raise UsageError(
                f"{told}: rule {number}: name = {one_line(repr(rule.name), 80)} is that of rule {first[rule.name]}"
            )


def _read_toml(path: Path, told: str) -> dict[str, Any]:
    try:
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise UsageError(f"{told}: {what}, expected a TOML file of rules")
        if path.stat().st_size > _LARGEST_BYTES:
            raise UsageError(f"{told}: over {_LARGEST_BYTES:,} bytes, expected a short TOML file")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{told}: cannot be read: {error.strerror or one_line(error)}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise UsageError(f"{told}: not TOML: {one_line(error)}") from None
