"""What an edit did to a checkpoint: outputs, states, size and speed before and after, and every promise judged.

Pure: it takes numbers that a replay gathered, and touches no model file.
"""

from nla.verification.differences import OutputDifferences, default_tolerance
from nla.verification.promises import Seen, judge
from nla.verification.results import (
    Accuracy,
    Latency,
    OutputResult,
    Promise,
    SiteChange,
    Size,
    SplitComparison,
    Verification,
)
from nla.verification.states import Units, site_changes

__all__ = [
    "Accuracy",
    "Latency",
    "OutputDifferences",
    "OutputResult",
    "Promise",
    "Seen",
    "SiteChange",
    "Size",
    "SplitComparison",
    "Units",
    "Verification",
    "default_tolerance",
    "judge",
    "site_changes",
]
