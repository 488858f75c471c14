"""Typed results of the verbs that plan, apply and verify in one, and of the comparison of activations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nla.lifecycle.results import Inspection
from nla.manifest.document import Declined, Manifest
from nla.surgery.report import SurgeryReport
from nla.verification.results import Verification


@dataclass(frozen=True)
class Round:
    """One edit of an outcome: all of a pruning, one round of a repair."""

    manifest: Manifest
    """As carried out: what the surgery refused is declined."""
    report: SurgeryReport
    dead: int
    """Dead neurons before the round."""


@dataclass(frozen=True)
class Outcome:
    """What `prune` and `repair` return."""

    rounds: tuple[Round, ...]
    """At least one; each manifest is for the model that the round before left."""
    verification: Verification
    """Of the last round's model against the original."""
    output: Path | None
    """Where the result lies; None where verification did not hold, so that nothing was kept."""
    manifests: tuple[Path, ...] = ()
    """Where the manifests of the rounds lie."""

    @property
    def manifest(self) -> Manifest:
        """The first round's, which is all there is of a pruning."""
        return self.rounds[0].manifest


@dataclass(frozen=True)
class Swapped:
    """What `swap` returns: the states of the same weights under other activations."""

    before: Inspection
    after: Mapping[str, Inspection]
    """By candidate, in the order in which they were given."""
    declined: tuple[Declined, ...]
    """Sites that keep their activation, and why."""
    output: Path | None
    """Where the model with the chosen activation lies."""


@dataclass(frozen=True)
class Exported:
    """What `export` returns."""

    output: Path
    """The ONNX file."""
    checkpoint: Mapping[str, Any]
    """The source, as documents describe it: path, format, architecture, digest, …"""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int
    """Of the ONNX file, without the weights."""
    weight_bytes: int
    """Of its weights."""
    weights: str
    """Where they lie: inside (in the ONNX file), beside (in `<output>.data`), or source (in the safetensors files)."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, output: str | os.PathLike[str], plain: Mapping[str, Any]) -> Exported:
        """From the plain values of the child."""
        return cls(
            output=Path(output),
            checkpoint=plain["checkpoint"],
            inputs=tuple(plain["inputs"]),
            outputs=tuple(plain["outputs"]),
            bytes=plain["bytes"],
            weight_bytes=plain["weight_bytes"],
            weights=plain["weights"],
            notes=tuple(plain["notes"]),
        )
