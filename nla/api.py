"""The verbs, in one place: `nla.verbs` holds them, a module for each group.

What touches a stranger's file beyond cheap checks (onnx, onnxruntime, foreign HDF5) runs in a supervised child
process; `in_process=True` runs it here instead, for debuggers and for callers that trust their files.
"""

from __future__ import annotations

from nla.verbs.editing import apply, masks, undo
from nla.verbs.exporting import export
from nla.verbs.inspecting import inspect, sites
from nla.verbs.planning import plan
from nla.verbs.recordings import as_criteria, load, merge, neurons
from nla.verbs.swapping import swap
from nla.verbs.together import prune, repair
from nla.verbs.verifying import verify

__all__ = [
    "apply",
    "as_criteria",
    "export",
    "inspect",
    "load",
    "masks",
    "merge",
    "neurons",
    "plan",
    "prune",
    "repair",
    "sites",
    "swap",
    "undo",
    "verify",
]
