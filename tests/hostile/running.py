"""Running the `nla` script as a stranger's machine would: a home, a temporary folder and a current folder of its own.

Every run is followed: what it printed, how long it took, which files it left, and whether a process lives on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(sys.executable).with_name("nla")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARK = "NLA_TEST_RUN"


@dataclass(frozen=True)
class Ended:
    """How one run ended, and what it left."""

    code: int
    out: str
    err: str
    seconds: float
    files: tuple[str, ...]
    """Files that are new under the run's home, temporary and current folders."""
    processes: tuple[int, ...]
    """Processes of the run that still lived a moment after its end."""

    def check(self) -> Ended:
        """What holds for every run, whatever its input: it is over, clean, and says nothing that acts on a terminal."""
        assert not self.processes, f"still running: {self.processes}"
        assert "Traceback" not in self.err, self.err
        assert self.code >= 0, f"died of signal {-self.code}"
        assert not _UNSAFE.search(self.out + self.err), (
            f"acts on a terminal: {self.out[-300:]!r} {self.err[-300:]!r}"
        )
        return self

    def refused(self, *words: str, code: int = 2) -> Ended:
        """One clear line that holds `words`, exit code 2, and no file."""
        self.check()
        assert (self.code, self.files) == (code, ()), (
            f"{self.code} {self.files}\n{self.out[-500:]}\n{self.err}"
        )
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("nla: ")
        missing = [word for word in words if not re.search(word, self.err)]
        assert not missing, f"{missing} not in {self.err}"
        return self


@dataclass(frozen=True)
class Running:
    """A run under way: the `nla` process, and what tells it and its children from all others."""

    process: subprocess.Popen[bytes]
    mark: str

    @property
    def pid(self) -> int:
        """Of the `nla` process itself, which leads a process group."""
        return self.process.pid

    def children(self) -> list[int]:
        """The processes that it has started, and theirs."""
        return [pid for pid in marked(self.mark) if pid != self.pid]


class Machine:
    """Folders that only the runs of one test use: `home`, `temporary`, `here` (the current folder)."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, self.here = (folder / name for name in ("home", "temporary", "here"))
        for place in (self.home, self.temporary, self.here):
            place.mkdir(parents=True)

    def run(
        self,
        *arguments: object,
        seconds: float = 60.0,
        wrap: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        during: Callable[[Running], None] | None = None,
        **options: object,
    ) -> Ended:
        """Runs `nla ARGUMENTS` to its end; `during` is called while it runs."""
        before = set(self.files())
        mark = uuid.uuid4().hex
        begin = time.monotonic()
        process = self.start(*arguments, mark=mark, wrap=wrap, variables=variables, **options)
        alive: list[int] = []
        try:
            if during is not None:
                during(Running(process, mark))
            out, err = process.communicate(timeout=seconds)
            took = time.monotonic() - begin
            alive = _settled(mark)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
        left = tuple(sorted(set(self.files()) - before))
        return Ended(process.returncode, _text(out), _text(err), took, left, tuple(alive))

    def start(
        self,
        *arguments: object,
        mark: str,
        wrap: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """The process of one run, the leader of a process group of its own, as a shell would make it."""
        given = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "LC_ALL": "C.UTF-8",
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            _MARK: mark,
            **(variables or {}),
        }
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*wrap, str(SCRIPT), *map(str, arguments)],
            cwd=self.here,
            env=given,
            process_group=0,
            **{**pipes, **options},
        )

    def files(self) -> list[str]:
        """Every file and link under the three folders."""
        places = (self.home, self.temporary, self.here)
        return [
            str(path)
            for place in places
            for path in place.rglob("*")
            if path.is_symlink() or not path.is_dir()
        ]


def _settled(mark: str) -> list[int]:
    """Marked processes that are still there after a moment: a killed one takes a few milliseconds to go."""
    for _ in range(40):
        alive = marked(mark)
        if not alive:
            return []
        time.sleep(0.05)
    return alive


def marked(mark: str) -> list[int]:
    """Processes that carry the mark of a run."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
