"""Eq. 4 where branches are added, as in residual networks: a bound over all paths from a tensor to the output.

The gradient at a tensor is the sum, over the nodes that read it, of what comes back through each: ‖∂L/∂v‖ is at most
Σ ‖J_node‖·‖∂L/∂output of the node‖. An Add hands on what it gets (a skip connection has the factor 1), a layer
multiplies with its norm, an activation with its steepest slope. Along a chain it is the product of eq. 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nla.gradients.bounding import SizedLayers
from nla.graph import query
from nla.graph.activations import Pattern, recognise
from nla.graph.walk import Walk
from nla.theory.gradient_flow import Bound
from nla.theory.slopes import largest_slope
from nla.theory.spectral import BOUND, ESTIMATE
from nla.weights.chains import Ends, factor_of_kept

_ADDING = frozenset(("Add", "Sub", "Sum"))
_ONCE = frozenset(("Neg", "Concat", "Split", "Slice", "ReduceMean"))
"""Every number arrives at most once, and is made no larger."""
SEVERAL = "several paths"


class Paths:
    """Bounds of the gradient at tensors, over that at the output; ln, -inf for none, NaN where nothing is known."""

    @np.errstate(all="ignore")  # NaN is what is not known, and goes on as such
    def __init__(self, walk: Walk, layers: SizedLayers, output: str) -> None:
        self._walk, self._layers = walk, layers
        self._patterns = recognise(walk.nodes, walk.flow.constants)
        self._estimates = False
        self._output = output
        self._logs: dict[ir.Value, float] = {}
        for value in walk.graph.outputs:
            if query.name(value) == output:
                self._logs[value] = 0.0
        for node in reversed(walk.nodes):
            reached = [self._logs[value] for value in node.outputs if value in self._logs]
            if reached:
                self._back(node, float(np.logaddexp.reduce(reached)))
        self._by_name = {query.name(value): log for value, log in self._logs.items()}

    def bound(self, tensor: str, slope: float | None, mean: float, end: float) -> Bound | None:
        """The bound at pre-activations whose mean ‖δ‖ is `mean`, over `end`; None where none is known.

        `slope` is C of their activation.
        """
        log = self._by_name.get(tensor, math.nan)
        if not slope or math.isnan(log):
            return None
        return Bound(
            slope=slope,
            norm=math.exp(min(700.0, log)) / slope,
            kind=ESTIMATE if self._estimates else BOUND,
            reader=SEVERAL,
            log10=log / math.log(10),
            end=self._output,
            measured=mean / end if end > 0 else math.nan,
        )

    def _back(self, node: ir.Node, log: float) -> None:
        """Add what comes back through a node to what it reads."""
        for value, factor in self._factors(node):
            added = log + float(np.log(factor))
            before = self._logs.get(value)
            self._logs[value] = added if before is None else float(np.logaddexp(before, added))

    def _factors(self, node: ir.Node) -> Iterator[tuple[ir.Value, float]]:
        """Each data operand, as often as it is read, and the norm of the node's Jacobian; NaN where not known."""
        constants, kind = self._walk.flow.constants, query.kind(node)
        data = [value for value in node.inputs if value is not None and value not in constants]
        pattern = next((self._patterns[value] for value in node.outputs if value in self._patterns), None)
        if node in self._walk.cells or query.is_control_flow(node):
            yield from ((value, math.nan) for value in (*data, *query.captured(node)))
        elif pattern is not None:
            yield pattern.z, _slope(pattern)
        elif node in self._walk.layers:
            yield from ((value, self._norm(node) if len(data) == 1 else math.nan) for value in data)
        elif kind in _ADDING:
            yield from ((value, 1.0 if self._whole(value, node) else math.nan) for value in data)
        elif kind in _ONCE:
            yield from ((value, 1.0) for value in data)
        elif len(data) == 1 and data[0] is node.inputs[0]:
            yield data[0], self._scaled(node)
        else:
            yield from ((value, math.nan) for value in data)

    def _norm(self, node: ir.Node) -> float:
        weighted = self._walk.layers[node]
        found = self._layers.summed_up(weighted)
        if isinstance(found, str) or weighted.activation is not None or weighted.added is not None:
            return math.nan
        self._estimates = self._estimates or found.operator_kind == ESTIMATE
        return float(found.operator_norm)

    def _whole(self, value: ir.Value, node: ir.Node) -> bool:
        """Whether an operand has the size of the result: one that is broadcast arrives several times."""
        shapes = self._walk.flow.shapes
        sizes = shapes.dims(value)
        return sizes is not None and None not in sizes and sizes == shapes.dims(node.outputs[0])

    def _scaled(self, node: ir.Node) -> float:
        """Of a node that reads data in its first operand alone."""
        kind, constants = query.kind(node), self._walk.flow.constants
        if kind in ("Mul", "Div") and self._whole(node.inputs[0], node):  # type: ignore[arg-type]
            factor = constants.array(node.inputs[1])
            if factor is None:
                return math.nan
            sizes = np.abs(np.asarray(factor, np.float64))
            return float(np.max(sizes if kind == "Mul" else 1 / sizes, initial=0.0))
        if (
            kind == "BatchNormalization"
            and len(node.outputs) == 1
            and not query.integer(node, "training_mode")
        ):
            scale, variance = (constants.array(node.inputs[at]) for at in (1, 4))
            if scale is None or variance is None:
                return math.nan
            spread = np.asarray(variance, np.float64) + query.real(node, "epsilon", 1e-5)
            return float(np.max(np.abs(np.asarray(scale, np.float64)) / np.sqrt(spread), initial=0.0))
        try:
            return factor_of_kept(node)
        except Ends:
            return math.nan


def _slope(pattern: Pattern) -> float:
    if pattern.activation is None or pattern.hidden or pattern.tentative:
        return math.nan
    found = largest_slope(pattern.activation)
    return math.nan if found is None else found
