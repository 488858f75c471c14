"""The kinds of figure, by name; nothing is imported that takes time until one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nla.errors import MissingExtraError, UsageError, printable

if TYPE_CHECKING:
    from nla.figures.figure import Figure
    from nla.runs.run import Run


@dataclass(frozen=True)
class Kind:
    """One kind of figure."""

    name: str
    several: bool
    """Whether it is of several runs; else of one."""
    shows: str
    """A line for a list of kinds."""
    rows: bool = False
    """Whether it needs a row for each neuron."""
    ranks: bool = False
    """Whether it needs effective ranks, which take most of the time of reading a recording."""

    @property
    def over_time(self) -> bool:
        """Whether its runs are one network in the order of its training."""
        return self.several and self.name != "layers-side-by-side"

    def make(self, runs: Sequence[Run]) -> Figure:
        """The figure of these runs.

        Raises:
            UsageError: too many or too few runs, or runs that lack what the figure shows.
            MissingExtraError: a library for plots is not installed.
        """
        self.check_number(len(runs))
        # Its module's `draw` takes one run, or a sequence of them where the kind is of several.
        drawn: Callable[..., Figure] = _module(self.name.replace("-", "_")).draw
        return drawn(runs) if self.several else drawn(runs[0])

    def check_number(self, runs: int) -> None:
        """Raises UsageError where this many runs are too many or too few."""
        if self.several and runs < 2:
            raise UsageError(f"{self.name} shows how runs differ: give at least two, in order, not {runs}")
        if not self.several and runs != 1:
            others = ", ".join(kind.name for kind in KINDS.values() if kind.several)
            raise UsageError(f"{self.name} is of one run, not of {runs}; of several are: {others}")


def _module(name: str) -> Any:
    try:
        return import_module(f"nla.figures.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "altair":
            raise MissingExtraError("plots", "report") from None
        raise


_KINDS = (
    Kind("dead-share", False, "dead neurons of each site, by depth"),
    Kind("states", False, "neurons of each site by lifecycle state"),
    Kind(
        "activation-rate",
        False,
        "share of positions with z > 0, every neuron, sorted, one row a site",
        rows=True,
    ),
    Kind(
        "firing-frequency",
        False,
        "share of positions with |a| above the threshold, likewise",
        rows=True,
    ),
    Kind("histogram-a", False, "values of the activation a of each site"),
    Kind("histogram-z", False, "values of the pre-activation z of each site"),
    Kind("effective-rank", False, "effective rank and capacity beside the width, by depth", ranks=True),
    Kind("killed-samples", False, "samples that every neuron of a site ignores, by the first such site"),
    Kind("dormancy", False, "dormancy scores of each site against the threshold", rows=True),
    Kind("evidence", False, "how far from firing the dead neurons of each site stay", rows=True),
    Kind("dead-share-over-time", True, "dead neurons over training, one line a site"),
    Kind("states-over-time", True, "all neurons by lifecycle state over training"),
    Kind("transitions", True, "which state follows which from one run to the next", rows=True),
    Kind("survival", True, "neurons alive over training: observed, and as a Markov chain has it", rows=True),
    Kind("trajectories", True, "the state of every neuron over training", rows=True),
    Kind(
        "layers-side-by-side",
        True,
        "dead and dormant share and effective rank of each site, by run",
        ranks=True,
    ),
    Kind("effective-rank-over-time", True, "effective rank over training, one line a site", ranks=True),
)
KINDS = {kind.name: kind for kind in _KINDS}
"""By name, in the order in which a page shows them."""


def kind(name: str) -> Kind:
    """The kind of that name. Raises UsageError with the names that are near."""
    if name in KINDS:
        return KINDS[name]
    near = get_close_matches(str(name), KINDS, 3, 0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(KINDS)}"
    raise UsageError(f"no figure {printable(name)!r}; {hint}")
