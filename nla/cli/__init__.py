"""The command line: a command parses, makes one call to the Python API, and renders the result."""

from __future__ import annotations


def main() -> None:
    """Run the command line and end the process with its exit code (the `nla` script and `python -m nla`)."""
    from nla.cli.endings import guarded

    raise SystemExit(guarded(_start))


def _start() -> int:
    # Imported only here, below the signal handlers, so that Ctrl-C during an import is as clean as any other.
    import sys

    from nla.cli.app import run

    return run(sys.argv[1:])
