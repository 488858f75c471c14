"""Values of the pre-activation z of each site."""

from __future__ import annotations

from nla.figures import histograms
from nla.figures.figure import Figure
from nla.runs.run import Run


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where no site of the run holds a histogram."""
    kept = {site.name: site.pre_histogram for site in run.sites if site.pre_histogram is not None}
    return histograms.draw(
        run,
        "histogram-z",
        "z",
        kept,
        "inspect again with --pre-activations, which observes z wherever a site has one",
    )
