"""Numbers, shares and names as people read them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from nla.errors import printable

_ANY_LENGTH = 1_000_000


def count(number: int) -> str:
    """With a comma at every thousand.

    >>> count(1280)
    '1,280'
    """
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where there is not one.

    >>> counted(1, "neuron"), counted(2048, "neuron")
    ('1 neuron', '2,048 neurons')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share with two significant digits, never rounded to 0 % or 100 % when it is not.

    >>> percent(0.3227), percent(0.000902), percent(1.0), percent(0.9999), percent(0.0)
    ('32 %', '0.09 %', '100 %', '99.99 %', '0 %')
    """
    if not math.isfinite(share):
        return "unknown"
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f} %"
    distance = min(value, abs(100 - value))  # an upper bound may lie anywhere, and 99.99 % is not 100 %
    decimals = max(0, 1 - math.floor(math.log10(distance))) if distance < 10 else 0
    text = f"{value:.{min(decimals, 12)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def size(number_of_bytes: float) -> str:
    """Bytes in the unit that reads best.

    >>> size(1_900_000)
    '1.9 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if number_of_bytes < 1000:
            return f"{number_of_bytes:.0f} {unit}" if unit == "bytes" else f"{number_of_bytes:.3g} {unit}"
        number_of_bytes /= 1000
    return f"{number_of_bytes:,.1f} TB"


def several(items: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are.

    >>> several(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    if len(items) <= most:
        return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
    return f"{', '.join(items[:most])} and {len(items) - most:,} more"


def whole(name: object) -> str:
    """The name, made printable and not cut: a name that will be typed again, or compared."""
    return printable(name, _ANY_LENGTH)


def hanging(text: object, width: int, first: str = "  ", rest: str = "    ") -> str:
    """`text` made printable, wrapped to `width`; its first line begins with `first`, the others with `rest`.

    >>> print(hanging("Loop a: its bodies are left alone", 20))
      Loop a: its bodies
        are left alone
    """
    return textwrap.fill(
        whole(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def short(name: str, width: int) -> str:
    """The name in at most `width` characters, cut in the middle: the ends tell names of one graph apart.

    >>> short("/model/layers.0/mlp/act/Mul_output_0", 20)
    '/model…/Mul_output_0'
    """
    name = whole(name)
    if len(name) <= width:
        return name
    tail = (2 * width) // 3
    return f"{name[: width - tail - 1]}…{name[len(name) - tail :]}"


def short_names(names: Sequence[str], width: int) -> list[str]:
    """Every name in at most `width` characters; the words that all long ones begin and end with go first.

    >>> short_names(["/model/layers.0/mlp/act/Mul_output_0", "/model/layers.1/attn/out/MatMul_output_0"], 18)
    ['…0/mlp/act/Mul…', '…1/att…out/MatMul…']
    """
    names = [whole(name) for name in names]
    long = [name for name in dict.fromkeys(names) if len(name) > width]
    if len(long) < 2:
        return [short(name, width) for name in names]
    first = _shared_words(long)
    last = _shared_words([name[first:][::-1] for name in long])
    # Of what is shared, only as much goes as must.
    first = min(first, max(map(len, long)) - last - width + bool(first) + bool(last)) if first else 0
    first = max(first, 0)
    room = width - bool(first) - bool(last)

    def cut(name: str) -> str:
        core = short(name[first : len(name) - last], room)
        return f"{'…' * bool(first)}{core}{'…' * bool(last)}"

    return [name if len(name) <= width else cut(name) for name in names]


def _shared_words(names: Sequence[str]) -> int:
    """How many characters all names begin with, up to the last separator: words are not torn."""
    least, most = min(names), max(names)
    shared = least[
        : next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
    ]
    return max((i + 1 for i, character in enumerate(shared) if character in "/._:-"), default=0)
