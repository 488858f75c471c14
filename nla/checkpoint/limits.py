"""How large a model may be before a library is asked to read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelLimits:
    """Bounds that every exported model seen so far keeps, and that hostile ones break to hang a library.

    The numbers come from measurements with onnxruntime 1.31: 100 000 unused initializers, one tensor with
    50 000 consumers, and 100 000 nodes each hang the creation of a session.
    """

    file_bytes: int = 2**31 - 1
    """Protobuf's own limit for one message."""
    nodes: int = 100_000
    """Nodes of the graph, of its subgraphs, and of functions each time they are called."""
    initializers: int = 20_000
    consumers: int = 10_000
    """Nodes that read one tensor."""
    nesting: int = 32
    """Depth of subgraphs (If, Loop, Scan)."""
    external_reuse: float = 4.0
    """Bytes that tensors claim of external files, per byte that those files have."""
    external_floor_bytes: int = 64 << 20
    """Claims below this are not compared with the size of the files."""


DEFAULT_LIMITS = ModelLimits()
