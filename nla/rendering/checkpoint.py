"""What is known of a checkpoint, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nla.rendering.words import counted, size


def checkpoint_facts(checkpoint: Mapping[str, Any], parameters: int | None = None) -> list[str]:
    """Format, architecture and element type of a safetensors checkpoint; parameters and bytes of every one."""
    facts: list[str] = []
    if checkpoint.get("format") == "safetensors":
        facts += [
            "safetensors",
            *(str(checkpoint[key]) for key in ("architecture", "dtype") if checkpoint.get(key)),
        ]
        shards, tensors = checkpoint.get("shards"), checkpoint.get("tensors")
        if isinstance(tensors, int):
            held = counted(tensors, "tensor")
            facts.append(f"{held} in {counted(shards, 'file')}" if isinstance(shards, int) else held)
    number = (checkpoint.get("parameters") or None) if parameters is None else parameters
    if number is not None:
        facts.append(counted(number, "parameter"))
    if checkpoint.get("bytes"):
        facts.append(size(checkpoint["bytes"]))
    return facts
