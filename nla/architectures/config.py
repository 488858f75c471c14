"""config.json read with suspicion: every value has a type and a range, and a fault names key and value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nla.errors import ModelError, printable

LARGEST = 1 << 24
"""The largest size that a configuration may name: no model has a vocabulary or a width of sixteen million."""


class Config:
    """The values of a config.json, asked for by key; several keys are the names that one value has had."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes that `architectures` names."""
        found = self.values.get("architectures")
        return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list) else ()

    def has(self, *keys: str) -> bool:
        """Whether any of the keys has a value that is not null."""
        return any(self.values.get(key) is not None for key in keys)

    def count(self, *keys: str, default: int | None = None, least: int = 1, most: int = LARGEST) -> int:
        """A whole number from `least` to `most`."""
        value = self._value(keys, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(keys, value, f"a whole number from {least:,} to {most:,}")
        return value

    def real(self, *keys: str, default: float | None = None, positive: bool = True) -> float:
        """A finite number, above zero if `positive`."""
        value = self._value(keys, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > 1e30 or (positive and value <= 0):
            raise self._wrong(keys, value, "a positive number" if positive else "a number")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """True or false."""
        value = self._value(keys, default)
        if not isinstance(value, bool):
            raise self._wrong(keys, value, "true or false")
        return value

    def text(self, *keys: str, default: str | None = None) -> str:
        """A word."""
        value = self._value(keys, default)
        if not isinstance(value, str):
            raise self._wrong(keys, value, "a word")
        return value

    def section(self, *keys: str) -> Config | None:
        """A mapping inside; None where it is null or absent."""
        value = self._value(keys, {})
        if not isinstance(value, Mapping):
            raise self._wrong(keys, value, "a mapping")
        return Config(value) if value else None

    def words(self, *keys: str) -> tuple[str, ...] | None:
        """A list of words; None where it is null or absent."""
        value = self._value(keys, ())
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            raise self._wrong(keys, value, "a list of words")
        return tuple(value) or None

    def numbers(self, *keys: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of whole numbers from 1."""
        value = self._value(keys, default)
        good = isinstance(value, list | tuple) and all(
            isinstance(n, int) and not isinstance(n, bool) and 0 < n <= LARGEST for n in value
        )
        if not good:
            raise self._wrong(keys, value, f"a list of whole numbers from 1 to {LARGEST:,}")
        return tuple(value)

    def refuse(self, key: str, *harmless: object, why: str) -> None:
        """Raise ModelError where the key has another value than the harmless ones: null, false and these."""
        value = self.values.get(key)
        if value is not None and value is not False and value not in harmless:
            raise ModelError(f"config.json: {key} {printable(value, 80)}: {why}")

    def _value(self, keys: Sequence[str], default: Any) -> Any:
        for key in keys:
            found = self.values.get(key)
            if found is not None:
                return found
        if default is None:
            raise ModelError(f"config.json gives no {keys[0]}, which has no default for this architecture")
        return default

    def _wrong(self, keys: Sequence[str], value: object, expected: str) -> ModelError:
        key = next((key for key in keys if self.values.get(key) is not None), keys[0])
        return ModelError(
            f"config.json: {printable(key)} is {printable(repr(value), 80)}: expected {expected}"
        )
