"""How much memory and time a supervised child process may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_HEADROOM_BYTES = 256 << 20
_HEADROOM_SHARE = 0.05
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Limits:
    """Limits of one supervised run.

    >>> Limits(seconds=60).stall
    >>> Limits().stall
    300.0
    """

    memory_bytes: int | None = None
    """Memory the child may hold, mapped files not counted; None: what the machine has free."""
    seconds: float | None = None
    """Wall clock for the whole run, start of the child included; None: no limit but `stall_seconds`."""
    stall_seconds: float | None = 300.0
    """Longest silence between two reports of progress, where `seconds` is not given."""

    @property
    def memory(self) -> int:
        """The limit in bytes that is enforced."""
        return available_bytes() if self.memory_bytes is None else self.memory_bytes

    @property
    def stall(self) -> float | None:
        """The longest silence that is enforced: who sets a time limit has said how long to wait."""
        return None if self.seconds is not None else self.stall_seconds


def available_bytes() -> int:
    """Memory that this process may still take without pushing the machine or its container over the edge."""
    free = min(_free_on_machine(), _free_in_cgroup())
    return max(free - max(int(free * _HEADROOM_SHARE), _HEADROOM_BYTES), _HEADROOM_BYTES)


def _free_on_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_in_cgroup() -> int:
    """What cgroup v2 leaves to this process: the narrowest of its groups, from its own to the root."""
    try:
        own = next(x for x in Path("/proc/self/cgroup").read_text().splitlines() if x.startswith("0::"))
    except (OSError, StopIteration):
        return _UNLIMITED
    group = _CGROUPS / own[3:].lstrip("/")
    free = _UNLIMITED
    for folder in (group, *group.parents):
        if not folder.is_relative_to(_CGROUPS):
            break
        free = min(free, _free_in(folder))
    return free


def _free_in(folder: Path) -> int:
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = (folder / "memory.current").read_text()
        cached = next(
            x for x in (folder / "memory.stat").read_text().splitlines() if x.startswith("inactive_file ")
        )
        return _UNLIMITED if limit == "max" else max(int(limit) - int(used) + int(cached.split()[1]), 0)
    except (OSError, ValueError, StopIteration):
        return _UNLIMITED
