"""How the child is started: the same interpreter, the same nla, and no import from the user's folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# nla is loaded from where the parent has it, whether installed, editable or neither; its folder never gets
# on the import path. The parent's own entries go to the end, so that no file there hides a library.
_CODE = """
import json, sys
import importlib.util as util
given = json.loads(sys.argv[1])
sys.path.extend(entry for entry in given["path"] if entry not in sys.path)
spec = util.spec_from_file_location("nla", given["init"], submodule_search_locations=[given["package"]])
sys.modules["nla"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["nla"])
from nla.isolation.child import main
main(given["request"], given["response"], given["parent"], given["data_bytes"])
"""


def command(request: int, response: int, data_bytes: int) -> list[str]:
    """The command line of a child that reads and writes these descriptors."""
    if not sys.executable:
        raise RuntimeError("there is no Python executable to start a child process with; use in_process=True")
    given = {
        "path": _import_path(),
        "init": str(_PACKAGE / "__init__.py"),
        "package": str(_PACKAGE),
        "request": request,
        "response": response,
        "parent": os.getpid(),
        "data_bytes": data_bytes,
    }
    return [sys.executable, "-P", *_flags(), "-c", _CODE, json.dumps(given)]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: onnxruntime's telemetry is off before the library is loaded.

    NumPy's BLAS gets one thread: the replay has a worker on every core, and BLAS threads would wait for
    them, spinning.
    """
    return {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", **variables}


def _import_path() -> list[str]:
    """The parent's import path without the current folder, where a `json.py` may lie beside a model."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # the folder was removed under us
        here = ""
    return [entry for entry in sys.path if entry and os.path.realpath(entry) != here]


def _flags() -> list[str]:
    flags = sys.flags
    given = {"-E": flags.ignore_environment, "-s": flags.no_user_site, "-B": flags.dont_write_bytecode}
    return [flag for flag, on in given.items() if on]
