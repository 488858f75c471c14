"""The verb that decides: plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nla.checkpoint.atomic import atomic_write
from nla.errors import RecordingError, printable
from nla.lifecycle.criteria import Criteria
from nla.manifest.document import Manifest
from nla.manifest.planning import plan as planned
from nla.manifest.policies.base import Options
from nla.manifest.selection import Selection
from nla.verbs.certifying import read_certificates, with_given
from nla.verbs.parcel import StrPath
from nla.verbs.proofs import check_numbers, texts
from nla.verbs.recordings import as_criteria, judged, read_recording


def plan(
    run: StrPath,
    policy: str | Sequence[str],
    *,
    site: str | Sequence[str] = (),
    state: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    min_margin: float | None = None,
    max_rate_bound: float | None = None,
    certificates: StrPath | None = None,
    fraction: float | None = None,
    target_rate: float = 0.01,
    zero_outgoing: bool = False,
    seed: int = 0,
    to: str | None = None,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    output: StrPath | None = None,
    in_process: bool = False,
) -> Manifest:
    """The manifest of what a policy would do to the checkpoint of a recording; opens no checkpoint.

    Args:
        run: a recording, which `inspect` or `merge` wrote.
        policy: 'prune' (remove, fold, merge), 'repair' (what suits each state), mask, remove, fold, merge, strip,
            strip-contribution, reset, shift, flip, swap; several as a list, or with commas between.
        site: names of sites; all where empty.
        state: states; those that each policy is for where empty.
        require: 'held-out': units that the held-out split shows as the calibration split does; 'certificate': units
            that are proved silent for every input of a domain.
        min_margin: standard deviations of z that a unit must be from waking.
        max_rate_bound: largest upper bound on the share of samples on which a unit fires.
        certificates: what `certify` wrote of this checkpoint, in place of those of the recording.
        fraction: of strip and strip-contribution, share of a unit's incoming weights.
        target_rate: of shift, share of positions on which a unit is to fire.
        zero_outgoing: of shift, whether outgoing weights become zero, so that the output stays.
        seed: of reset.
        to: of swap, the activation: gelu, silu, elu, leakyrelu.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        output: where the manifest goes, as JSON.
        in_process: read the recording in this process, without limits.

    Raises:
        RecordingError: the file is not a recording.
        UsageError: an unknown policy, site, state or requirement, a number out of its range, or certificates of
            another checkpoint.
        OutputError: the manifest cannot be written.
    """
    texts("policy", policy, "the name of a policy, or a list of names")
    selection = selected(site, state, require, min_margin, max_rate_bound)
    options = Options(fraction, target_rate, zero_outgoing, seed, to)
    proofs = None if certificates is None else read_certificates(certificates)
    inspection = judged(read_recording(run, in_process), as_criteria(criteria), ranks=False)
    if proofs is not None and certificates is not None:
        inspection = with_given(inspection, proofs, certificates)
    manifest = planned(inspection, policy, selection, options, recording_digest=_digest(run))
    if output is not None:
        atomic_write(output, manifest.dumps().encode(), sources=[run])
    return manifest


def selected(
    site: str | Sequence[str],
    state: str | Sequence[str],
    require: str | Sequence[str],
    min_margin: float | None,
    max_rate_bound: float | None,
) -> Selection:
    """The filters of a plan. Raises UsageError: values of a wrong type."""
    check_numbers(min_margin=min_margin, max_rate_bound=max_rate_bound)
    named = "a name, or a list of names"
    return Selection(
        tuple(texts("site", site, named)),
        tuple(texts("state", state, named)),
        tuple(texts("require", require, named)),
        min_margin,
        max_rate_bound,
    )


def _digest(path: StrPath) -> str:
    """The sha256 of a file."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordingError(f"{printable(path)}: cannot be read: {error.strerror}") from None
