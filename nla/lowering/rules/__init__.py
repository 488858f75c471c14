"""How operators of ONNX become operators with sound rules; one family a file, entered in RULES."""

from __future__ import annotations

from nla.lowering.rules import (
    arithmetic,
    bending,
    contracting,
    convolving,
    deciding,
    interpolating,
    moving,
    normalising,
    recurring,
    reducing,
    volumes,
    weighing,
)
from nla.lowering.rules.base import Rule

RULES: dict[str, Rule] = {
    **arithmetic.RULES,
    **bending.RULES,
    **contracting.RULES,
    **convolving.RULES,
    **deciding.RULES,
    **moving.RULES,
    **normalising.RULES,
    **recurring.RULES,
    **reducing.RULES,
    **weighing.RULES,
    **volumes.RULES,  # one and two dimensions as `convolving`
    **interpolating.RULES,  # the nearest element as `moving`
}
"""By the operator's name, with its domain unless that is ONNX's own."""
