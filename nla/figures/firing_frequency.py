"""The firing frequency of every neuron, sorted, one row a site."""

from __future__ import annotations

from nla.figures import sorted_neurons
from nla.figures.figure import Figure
from nla.runs.run import Run


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site, or no row for each neuron."""
    threshold = run.criteria.get("firing_threshold", {}).get("value", 1e-3)
    words = sorted_neurons.Words(
        kind="firing-frequency",
        column="firing_frequency",
        title="Firing frequency of every neuron",
        legend=f"share of positions with |a| > {threshold:g}",
        caption="A row is a site, its neurons sorted by firing frequency from left to right, the dead first.",
    )
    return sorted_neurons.draw(run, words)
