"""Steps between weighted nodes: what each operator does to the channels that pass through it.

A rule takes the walk's state and a node, and returns the facts of its outputs. An operator without a rule
ends the channels: they are not followed through what is not understood. To add one, write its rule in the
module of its family and enter it in that module's `RULES`.
"""

from __future__ import annotations

from nla.graph.steps import elementwise, joining, layout, normalising, pooling
from nla.graph.steps.rules import Rule

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **joining.RULES,
    **layout.RULES,
    **normalising.RULES,
    **pooling.RULES,
}
