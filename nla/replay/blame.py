"""Errors of a task name the file that is at fault, whichever stage found it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from nla.errors import DataError, ModelError, printable

_Result = TypeVar("_Result")
_Task = Callable[[dict[str, Any], Any, Any], _Result]


def names_files(task: _Task[_Result]) -> _Task[_Result]:
    """The task, with the path of the model or the data before an error about it that names no file."""

    @wraps(task)
    def told(arguments: dict[str, Any], arrays: Any, report: Any) -> _Result:
        try:
            return task(arguments, arrays, report)
        except (ModelError, DataError) as error:
            given = {ModelError: arguments.get("model"), DataError: arguments.get("data")}
            path = given.get(type(error))
            if path is None or any(file in str(error) for file in _files(arguments)):
                raise
            raise type(error)(f"{printable(path)}: {error}") from error

    return told


def _files(arguments: Mapping[str, Any]) -> list[str]:
    options = arguments.get("options") or {}
    beside = [options.get(name) for name in ("labels", "mask", "tokenizer", "processor")]
    beside.append((arguments.get("construction") or {}).get("graph"))
    paths = [arguments.get(name) for name in ("model", "data", "initial", "edited")]
    return [printable(path) for path in (*paths, *beside) if isinstance(path, str)]
