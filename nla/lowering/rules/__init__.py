"""How operators of ONNX become operators with sound rules; one family a file, entered in RULES."""

from __future__ import annotations

from nla.lowering.rules import (
    arithmetic,
    bending,
    convolving,
    deciding,
    moving,
    normalising,
    reducing,
    weighing,
)
from nla.lowering.rules.base import Rule

RULES: dict[str, Rule] = {
    **arithmetic.RULES,
    **bending.RULES,
    **convolving.RULES,
    **deciding.RULES,
    **moving.RULES,
    **normalising.RULES,
    **reducing.RULES,
    **weighing.RULES,
}
"""By the operator's name, with its domain unless that is ONNX's own."""
