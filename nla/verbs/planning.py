"""The verb that decides: plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nla.checkpoint.atomic import atomic_write
from nla.errors import RecordingError, UsageError, printable
from nla.lifecycle.certified import with_certificates
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection
from nla.manifest.document import Manifest
from nla.manifest.planning import plan as planned
from nla.manifest.policies.base import Options
from nla.manifest.selection import Selection
from nla.verbs.parcel import StrPath
from nla.verbs.recordings import as_criteria, judged, read_recording


def plan(
    run: StrPath,
    policy: str | Sequence[str],
    *,
    site: Sequence[str] = (),
    state: Sequence[str] = (),
    require: Sequence[str] = (),
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
    selection = Selection(tuple(site), tuple(state), tuple(require), min_margin, max_rate_bound)
    options = Options(fraction, target_rate, zero_outgoing, seed, to)
    inspection = judged(read_recording(run, in_process), as_criteria(criteria), ranks=False)
    if certificates is not None:
        inspection = _certified(inspection, certificates)
    manifest = planned(inspection, policy, selection, options, recording_digest=_digest(run))
    if output is not None:
        atomic_write(output, manifest.dumps().encode(), sources=[run])
    return manifest


def _certified(inspection: Inspection, path: StrPath) -> Inspection:
    """The inspection with the certificates of a file. Raises UsageError: they are of another checkpoint."""
    from nla.certificates.reading import read
    from nla.verbs.certifying import evidence

    found, checkpoint = read(Path(path)), inspection.checkpoint
    if found.digest != checkpoint["digest"]:
        raise UsageError(
            f"{printable(path)}: these are of another checkpoint, whose digest is {found.digest[:16]}; the recording's "
            f"is {printable(checkpoint['digest'], 16)}; certify the checkpoint that was recorded"
        )
    constants = {**checkpoint.get("constants", {}), **checkpoint.get("constant_arrays", {})}
    if found.constants != constants:
        raise UsageError(f"{printable(path)}: certificates with other constants (--set) than the recording's")
    return with_certificates(
        inspection, evidence(found, {each.name: each.site.neurons for each in inspection.sites})
    )


def _digest(path: StrPath) -> str:
    """The sha256 of a file."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordingError(f"{printable(path)}: cannot be read: {error.strerror}") from None
