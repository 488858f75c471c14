"""Numbers in the sentences of the gate, with as many digits as tell a value from its limit."""

from __future__ import annotations

from collections.abc import Callable

_MOST_DIGITS = 17
"""Digits that tell any two floats apart."""


def percent(share: float) -> str:
    """A share with four significant digits at most.

    >>> percent(0.322656), percent(0.05), percent(0.0), percent(1.0)
    ('32.27 %', '5 %', '0 %', '100 %')
    """
    return _percent(share, 4)


def number(value: float) -> str:
    """A number with four significant digits, a whole one with all of them.

    >>> number(12.3456), number(10_000.0), number(0.0)
    ('12.35', '10,000', '0')
    """
    return _number(value, 4)


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where there is not one.

    >>> counted(1, "neuron"), counted(2048, "neuron")
    ('1 neuron', '2,048 neurons')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def apart(value: float, limit: float, *, share: bool) -> tuple[str, str]:
    """Both in words, with digits enough that what differs looks different.

    >>> apart(0.3, 0.05, share=True), apart(0.200001, 0.2, share=True)
    (('30 %', '5 %'), ('20.0001 %', '20 %'))
    """
    words: Callable[[float, int], str] = _percent if share else _number
    for digits in range(4, _MOST_DIGITS + 1):
        told = words(value, digits), words(limit, digits)
        if told[0] != told[1] or value == limit:
            break
    return told


def _percent(share: float, digits: int) -> str:
    text = f"{100 * share:.{digits}g}"
    if (text == "100") != (share == 1):  # 99.999 % is not 100 %
        text = f"{100 * share:.{_MOST_DIGITS - 2}g}"
    return f"{text} %"


def _number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.{digits}g}"
