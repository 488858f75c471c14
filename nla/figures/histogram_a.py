"""Values of the activation a of each site."""

from __future__ import annotations

from nla.figures import histograms
from nla.figures.figure import Figure
from nla.runs.run import Run


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where no site of the run holds a histogram."""
    kept = {site.name: site.histogram for site in run.sites if site.histogram is not None}
    return histograms.draw(run, "histogram-a", "a", kept, "inspect again with data of which rows can be kept")
