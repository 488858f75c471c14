"""What came of many hostile files, each looked at in one child process that goes on after a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).with_name("batch.py")


@dataclass(frozen=True)
class Verdict:
    """`kind`: done, refused (by an error of ours), defect (any other exception), crashed."""

    kind: str
    text: str
    seconds: float


def verdicts(task: str, paths: Mapping[str, Path], folder: Path) -> dict[str, Verdict]:
    """By name of the case; `folder` is the child's current folder."""
    names = {str(path): name for name, path in paths.items()}
    found: dict[str, Verdict] = {}
    waiting = list(names)
    while waiting:
        for line in _batch(task, waiting, folder):
            found[names[line["name"]]] = Verdict(line["kind"], line["text"], line["seconds"])
            waiting.remove(line["name"])
        if waiting:
            found[names[waiting.pop(0)]] = Verdict("crashed", "", 0.0)
    return found


def _batch(task: str, files: Sequence[str], folder: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), task, *files],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=folder,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
