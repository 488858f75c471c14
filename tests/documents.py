"""The documentation as the tests read it: fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

SHELL = ("sh", "bash", "shell", "console")
_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", flags=re.S | re.M
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    code: str
    not_run: str | None = None
    """Why it is not run in the tests, where a comment on the line before says so."""
    prints: str | None = None
    """What it prints: the block of `text` that follows it, with nothing between."""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in order; those of `text` belong to the block before where they follow it."""
    found: list[Block] = []
    end = -1
    for fence in _FENCE.finditer(text):
        between = text[end : fence.start()] if end >= 0 else "-"
        language, code = fence["language"], fence["code"]
        if language == "text" and not between.strip() and found:
            found[-1] = Block(found[-1].language, found[-1].code, found[-1].not_run, code)
        else:
            found.append(Block(language, code, fence["why"]))
        end = fence.end()
    return found


def shell_lines(text: str) -> list[str]:
    """The commands in the fenced blocks of shell, with continued lines joined and prompts taken away."""
    code = "\n".join(block.code for block in blocks(text) if block.language in SHELL)
    lines = code.replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip()]


def nla_commands(lines: list[str]) -> list[list[str]]:
    """The arguments of every call of nla."""
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        cut = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "2>")), len(words))
        words = words[:cut]
        if words[:1] == ["nla"]:
            found.append(words[1:])
    return found
