"""What the values of options may look like: sizes, durations, shares, shards, NAME=VALUE."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import click

_SIZE_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """An option value read by `parse`, which raises ValueError with what it expected."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; click calls this for defaults too, which are parsed already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as fault:
            self.fail(f"{value!r}: {fault}", param, ctx)


def size_bytes(text: str) -> int:
    """Bytes.

    >>> size_bytes("4GB"), size_bytes("512 MiB"), size_bytes("1.5G")
    (4000000000, 536870912, 1500000000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", text.strip().upper())
    size = float(found[1]) * _SIZE_UNITS[found[2] or ""] if found else 0.0
    if size < 1:
        raise ValueError("expected a size such as 4GB, 512MB or 2GiB")
    return int(size)


def duration_seconds(text: str) -> float:
    """Seconds.

    >>> duration_seconds("10m"), duration_seconds("1h30m"), duration_seconds("45")
    (600.0, 5400.0, 45.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _SECONDS[unit or "s"] for number, unit in parts)
    if (
        not parts
        or whole != text.strip()
        or (len(parts) > 1 and "" in [unit for _, unit in parts])
        or seconds <= 0
    ):
        raise ValueError("expected a time such as 90s, 10m or 1h30m")
    return seconds


def positive(text: str) -> int:
    """A whole number from 1.

    >>> positive("200")
    200
    """
    if re.fullmatch(r"0*[1-9]\d{12,}", text):
        raise ValueError("expected a whole number of at most 12 digits")
    if not re.fullmatch(r"\d{1,12}", text) or int(text) < 1:
        raise ValueError("expected a whole number from 1")
    return int(text)


def natural(text: str) -> int:
    """A whole number from 0.

    >>> natural("0")
    0
    """
    if not re.fullmatch(r"\d{1,12}", text):
        raise ValueError("expected a whole number from 0")
    return int(text)


def share(text: str) -> float:
    """A share in [0, 1).

    >>> share("0.2"), share("20%")
    (0.2, 0.2)
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise ValueError("expected a share such as 0.2 or 20%, less than 1")
    return value


def positive_share(text: str) -> float:
    """A share in (0, 1].

    >>> positive_share("0.2"), positive_share("100%")
    (0.2, 1.0)
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ValueError("expected a share such as 0.2 or 20%, above 0 and at most 1")
    return value


def shard(text: str) -> tuple[int, int]:
    """Part K of N, counted from 1.

    >>> shard("3/16")
    (3, 16)
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise ValueError("expected K/N with 1 <= K <= N, such as 3/16")
    return part, parts


def height_width(text: str) -> tuple[int, int]:
    """Pixels.

    >>> height_width("240x320")
    (240, 320)
    """
    found = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if not found or min(int(found[1]), int(found[2])) < 1:
        raise ValueError("expected HEIGHTxWIDTH in pixels, such as 224x224")
    return int(found[1]), int(found[2])


def numbers(text: str) -> tuple[float, ...]:
    """One number, or one for each channel.

    >>> numbers("0.485,0.456,0.406")
    (0.485, 0.456, 0.406)
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise ValueError("expected one number, or one for each channel separated by commas")
    return values


def number(text: str) -> float:
    """One finite number; a quotient such as 1/255 too.

    >>> number("0.5"), number("1/4")
    (0.5, 0.25)
    """
    top, _, bottom = text.partition("/")
    try:
        value = float(top) / float(bottom or "1")
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("expected a number such as 0.00392 or 1/255")
    return value


def tolerance(text: str) -> float:
    """A number from 0.

    >>> tolerance("1e-5")
    1e-05
    """
    value = number(text)
    if value < 0:
        raise ValueError("expected a number from 0, such as 1e-5")
    return value


def batch_size(text: str) -> int | str:
    """'auto', or samples in a batch.

    >>> batch_size("auto"), batch_size("32")
    ('auto', 32)
    """
    return text if text == "auto" else positive(text)


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas.

    >>> names("linear, head")
    ('linear', 'head')
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ValueError("expected a name, or several separated by commas")
    return found


def assignment(text: str) -> tuple[str, str]:
    """A name and what it is given; the name may itself hold '='.

    >>> assignment("a=b=0")
    ('a=b', '0')
    """
    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise ValueError("expected NAME=VALUE")
    return name, value


def constant(text: str) -> Any:
    """A number, true or false, a JSON list of numbers, or the text itself.

    >>> constant("0"), constant("1.5"), constant("[1, 2]"), constant("true"), constant("en")
    (0, 1.5, [1, 2], True, 'en')
    """
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | list) else text


def table(
    pairs: tuple[tuple[str, str], ...], option: str, value: Callable[[str], Any] = str
) -> dict[str, Any]:
    """The values of a repeatable NAME=VALUE option.

    Raises:
        click.UsageError: a name is given twice.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        if name in found:
            raise click.UsageError(f"{option} {name} is given twice")
        found[name] = value(text)
    return found
