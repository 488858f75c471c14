"""The activation rate ρ of every neuron, sorted, one row a site."""

from __future__ import annotations

from nla.figures import sorted_neurons
from nla.figures.figure import Figure
from nla.runs.run import Run

_WORDS = sorted_neurons.Words(
    kind="activation-rate",
    column="activation_rate",
    title="Activation rate of every neuron",
    legend="share of positions with z > 0",
    caption="A row is a site, its neurons sorted by activation rate from left to right, the dead first.",
)


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site, or no row for each neuron."""
    return sorted_neurons.draw(run, _WORDS)
