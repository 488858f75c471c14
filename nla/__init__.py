"""Neuron lifecycle analysis of exported checkpoints.

The verbs are functions here, under the names of the command line; what they return is typed and holds NumPy
arrays:

    inspection = nla.inspect("model.onnx", data="calibration.npz")
    inspection.summary["dead"]

Names are resolved when first used (PEP 562), so that importing nla costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nla.api import (
        activation_table,
        apply,
        certify,
        check,
        compare,
        diff,
        export,
        gradient,
        initialisation,
        inspect,
        load,
        masks,
        merge,
        neurons,
        phases,
        plan,
        plot,
        prune,
        repair,
        report,
        simulate,
        sites,
        swap,
        track,
        trainability,
        undo,
        variance,
        verify,
    )
    from nla.certificates.results import Certificates, SiteCertificates
    from nla.errors import (
        DataError,
        Interrupted,
        LimitError,
        MissingExtraError,
        ModelError,
        NlaError,
        OutputError,
        RecordingError,
        UsageError,
    )
    from nla.figures.figure import Figure
    from nla.gate.results import Checked
    from nla.lifecycle.criteria import Criteria
    from nla.lifecycle.results import Finding, Inspection, SiteResult
    from nla.lifecycle.table import NeuronTable
    from nla.manifest.document import Action, Declined, Manifest
    from nla.manifest.masks import Masks
    from nla.outcomes import Exported, Outcome, Round, Swapped
    from nla.site import Input, NotUnderstood, Site, Survey
    from nla.surgery.report import SurgeryReport
    from nla.theory.gradient_flow import GradientFlow
    from nla.theory.simulation.results import Simulation
    from nla.theory.trainability import Trainability
    from nla.tracking.comparison import Comparison
    from nla.tracking.difference import Difference
    from nla.tracking.results import Tracking
    from nla.verification.results import Verification
    from nla.weights.results import LayerWeights, SiteWeights, WeightInspection

__version__ = "0.1.0"

__all__ = [
    "Action",
    "Certificates",
    "Checked",
    "Comparison",
    "Criteria",
    "DataError",
    "Declined",
    "Difference",
    "Exported",
    "Figure",
    "Finding",
    "GradientFlow",
    "Input",
    "Inspection",
    "Interrupted",
    "LayerWeights",
    "LimitError",
    "Manifest",
    "Masks",
    "MissingExtraError",
    "ModelError",
    "NeuronTable",
    "NlaError",
    "NotUnderstood",
    "Outcome",
    "OutputError",
    "RecordingError",
    "Round",
    "Simulation",
    "Site",
    "SiteCertificates",
    "SiteResult",
    "SiteWeights",
    "SurgeryReport",
    "Survey",
    "Swapped",
    "Tracking",
    "Trainability",
    "UsageError",
    "Verification",
    "WeightInspection",
    "__version__",
    "activation_table",
    "apply",
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

_HOMES = {
    "nla.api": (
        *("activation_table", "apply", "certify", "check", "compare", "diff", "export", "gradient"),
        *(
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
        ),
        *("simulate", "sites", "swap", "track", "trainability", "undo", "variance", "verify"),
    ),
    "nla.certificates.results": ("Certificates", "SiteCertificates"),
    "nla.errors": (
        "DataError",
        "Interrupted",
        "LimitError",
        "MissingExtraError",
        "ModelError",
        "NlaError",
        "OutputError",
        "RecordingError",
        "UsageError",
    ),
    "nla.figures.figure": ("Figure",),
    "nla.gate.results": ("Checked",),
    "nla.lifecycle.criteria": ("Criteria",),
    "nla.lifecycle.results": ("Finding", "Inspection", "SiteResult"),
    "nla.lifecycle.table": ("NeuronTable",),
    "nla.manifest.document": ("Action", "Declined", "Manifest"),
    "nla.manifest.masks": ("Masks",),
    "nla.outcomes": ("Exported", "Outcome", "Round", "Swapped"),
    "nla.site": ("Input", "NotUnderstood", "Site", "Survey"),
    "nla.surgery.report": ("SurgeryReport",),
    "nla.theory.gradient_flow": ("GradientFlow",),
    "nla.theory.simulation.results": ("Simulation",),
    "nla.theory.trainability": ("Trainability",),
    "nla.tracking.comparison": ("Comparison",),
    "nla.tracking.difference": ("Difference",),
    "nla.tracking.results": ("Tracking",),
    "nla.verification.results": ("Verification",),
    "nla.weights.results": ("LayerWeights", "SiteWeights", "WeightInspection"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nla' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
