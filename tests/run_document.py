"""Runs the blocks of a document one after another, in a process of its own: `python run_document.py < blocks.json`.

Reads a list of [language, code] and prints a list of what each block printed. Blocks of Python share their names, as
the cells of a notebook do; the verbs work in this process there, which spares the start of a child for each call.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import subprocess
import sys

import nla


def run(language: str, code: str, names: dict[str, object]) -> str:
    """What the block prints. Raises what it raises, CalledProcessError where a command fails or complains."""
    if language == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "<document>", "exec"), names)
        return out.getvalue()
    done = subprocess.run(["sh", "-euc", code], capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise SystemExit(f"{code}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    for verb in (name for name in nla.__all__ if not isinstance(getattr(nla, name), type | str)):
        if "in_process" in inspect.signature(getattr(nla, verb)).parameters:
            setattr(nla, verb, functools.partial(getattr(nla, verb), in_process=True))
    shared: dict[str, object] = {"__name__": "__main__"}
    printed = [run(language, code, shared) for language, code in json.load(sys.stdin)]
    json.dump(printed, sys.stdout)
