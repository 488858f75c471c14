"""Sites while a graph is still being walked."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from nla.activations import Activation
from nla.graph.channels import Channels
from nla.graph.weighted import Weighted

ACTIVATED = "activated"
GATED = "gated"
HEAD = "head"
PROJECTED = "projected"
RECURRENT = "recurrent"
LINEAR = "linear"
BEFORE = "before"


@dataclass(frozen=True, eq=False)
class What:
    """What a site is, wherever its channels lie."""

    found: str
    """How it was found: one of the constants above."""
    activation: Activation
    pre: ir.Value | None = None
    gate: ir.Value | None = None
    up: ir.Value | None = None


@dataclass(frozen=True, eq=False)
class Draft:
    """A site found; its role and its neighbours are settled when the whole graph is known."""

    value: ir.Value
    """The tensor that names the site."""
    what: What
    fact: Channels
    """The channels as they were before they became the site's neurons; on the axes of `value`."""
    source: int
    """The source that the site's neurons are from here on."""
    order: int
    """Place of the node that makes `value`, in graph order."""
    neurons: int
    unit_size: int = 1
    recurrent: Weighted | None = None
    """A recurrent node's input weights."""
