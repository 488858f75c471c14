"""The verbs, in one place: `nla.verbs` holds them, a module for each group.

What touches a stranger's file beyond cheap checks (onnx, onnxruntime, foreign HDF5) runs in a supervised child
process; `in_process=True` runs it here instead, for debuggers and for callers that trust their files.
"""

from __future__ import annotations

from nla.verbs.certifying import certify
from nla.verbs.comparing import compare, diff
from nla.verbs.drawing import plot
from nla.verbs.editing import apply, masks, undo
from nla.verbs.exporting import export
from nla.verbs.gating import check
from nla.verbs.gradient import gradient
from nla.verbs.inspecting import inspect, sites
from nla.verbs.planning import plan
from nla.verbs.recordings import as_criteria, load, merge, neurons
from nla.verbs.reporting import report
from nla.verbs.swapping import swap
from nla.verbs.theory import activation_table, initialisation, phases, simulate, trainability, variance
from nla.verbs.together import prune, repair
from nla.verbs.tracking import track
from nla.verbs.verifying import verify

__all__ = [
    "activation_table",
    "apply",
    "as_criteria",
    "certify",
    "check",
    "compare",
    "diff",
    "export",
    "gradient",
    "initialisation",
    "inspect",
    "load",
    "masks",
    "merge",
    "neurons",
    "phases",
    "plan",
    "plot",
    "prune",
    "repair",
    "report",
    "simulate",
    "sites",
    "swap",
    "track",
    "trainability",
    "undo",
    "variance",
    "verify",
]
