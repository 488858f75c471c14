"""Which site of a baseline each site of a run is compared with."""

from __future__ import annotations

from nla.errors import UsageError, printable
from nla.runs.run import Run, RunSite
from nla.tracking.matching import match
from nla.tracking.same_data import same_data

_LEFT_OUT = "left out: "
"""How a note of the matching begins that names a site without a counterpart."""


def counterparts(run: Run, baseline: Run) -> tuple[dict[str, RunSite], tuple[str, ...]]:
    """By name of each site of `run`, the site of the baseline that it is; and sentences on how they were matched.

    Raises:
        UsageError: a site of either has no counterpart, or another shape there.
    """
    try:
        matching = match(run, baseline, common_only=True)
    except UsageError as error:
        raise UsageError(f"a baseline of another architecture: {error}") from None
    if len(matching.pairs) < max(len(run.sites), len(baseline.sites)):
        misfit = next(note for note in matching.notes if note.startswith(_LEFT_OUT)).removeprefix(_LEFT_OUT)
        raise UsageError(f"{misfit}: the baseline {printable(baseline.label)} is of another architecture")
    notes = list(matching.notes)
    if not same_data(run, baseline):
        notes.append(
            f"{run.label} saw other data than the baseline {baseline.label}: what differs may be the data's doing"
        )
    return {site.name: then for site, then in matching.pairs}, tuple(notes)
