"""What a verb hands to the supervised child process, and how it gets the result back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla import isolation
from nla.calibration.arrays import as_array
from nla.calibration.options import CalibrationOptions
from nla.errors import UsageError, printable
from nla.isolation import Limits

StrPath = str | os.PathLike[str]
Array = NDArray[Any]
Progress = Callable[[dict[str, Any]], None]
Constant = float | int | str | Array


class Parcel:
    """What travels to the child: plain values, and arrays beside them."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.arrays: dict[str, Array] = {}

    def put_data(self, data: StrPath | Array | Mapping[str, Array] | None) -> None:
        """Calibration data: a path, the array of the only input, or arrays by input."""
        self.arguments["data"] = None
        if isinstance(data, np.ndarray):
            self.arrays["data"] = as_array("array", data)
        elif isinstance(data, Mapping):
            self.arrays.update({f"data/{name}": as_array(str(name), value) for name, value in data.items()})
        elif isinstance(data, str | os.PathLike):
            self.arguments["data"] = os.fspath(data)
        elif data is not None:
            kind = type(data).__name__
            raise UsageError(f"data is of type {kind}, expected a path, an array, or arrays by input")

    def put_options(self, options: CalibrationOptions) -> None:
        """How the data is read."""
        self.arguments["options"], arrays = options.pack()
        self.arrays.update({f"option/{name}": value for name, value in arrays.items()})

    def put_constants(self, constants: Mapping[str, Constant] | None) -> None:
        """Values of inputs that are not data; arrays travel beside the plain ones."""
        plain, digests = {}, {}
        for name, value in (constants or {}).items():
            if isinstance(value, np.ndarray):
                self.arrays[f"constant/{name}"] = value
                digests[name] = sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            else:
                plain[name] = value
        self.arguments.update(constants=plain, constant_digests=digests)

    def run(
        self, task: str, limits: Limits, progress: Progress | None, in_process: bool, verbose: bool = False
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """The task's result, from a supervised child or from this process."""
        self.arguments["verbose"] = verbose
        files = [self.arguments.get(name) for name in ("model", "path", "data")]
        return isolation.run(
            task,
            self.arguments,
            self.arrays,
            limits=limits,
            on_progress=progress,
            in_process=in_process,
            show_output=verbose,
            subject=" with ".join(printable(file) for file in files if file),
        )
