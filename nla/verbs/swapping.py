"""The verb that compares activations: swap."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nla.checkpoint.atomic import check_output
from nla.checkpoint.staging import staged
from nla.errors import OutputError, UsageError, one_line, printable
from nla.isolation import Limits
from nla.manifest.document import Declined
from nla.manifest.parameters import SWAPS
from nla.manifest.planning import plan as planned
from nla.manifest.policies.base import Options
from nla.manifest.policies.swap import activation_name
from nla.manifest.selection import Selection
from nla.outcomes import Swapped
from nla.verbs.construction import Construction, for_edit, is_safetensors
from nla.verbs.editing import Surgery
from nla.verbs.inspecting import replayed
from nla.verbs.parcel import StrPath
from nla.verbs.replaying import ReplayOptions
from nla.verbs.verifying import Data

if TYPE_CHECKING:
    from nla.lifecycle.results import Inspection

CANDIDATES = tuple(name.lower() for name in SWAPS)


def swap(
    model: StrPath,
    data: Data = None,
    *,
    candidates: str | Sequence[str] = CANDIDATES,
    output: StrPath | None = None,
    to: str | None = None,
    site: Sequence[str] = (),
    **options: Unpack[ReplayOptions],
) -> Swapped:
    """The dead shares of every layer under other activations, with the weights as they are.

    Args:
        model: an ONNX file, or a safetensors checkpoint.
        data: calibration data, as `inspect` takes it, and so are the `options`.
        candidates: activations to try: gelu, silu, elu, leakyrelu.
        output: where the model with the activation `to` goes.
        to: the candidate to keep.
        site: names of sites; all where empty.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used; the message says why and what to do.
        OutputError: the output cannot be written, or is the source.
    """
    if (output is None) != (to is None):
        raise UsageError("an output and the activation that it is to have go together: give both, or neither")
    listed = candidates.split(",") if isinstance(candidates, str) else list(candidates)
    names = list(dict.fromkeys(activation_name(name.strip()) for name in [*listed, *([to] if to else [])]))
    kept = None if to is None else activation_name(to)
    if output is not None:
        if is_safetensors(model) and not os.fspath(output).lower().endswith(".onnx"):
            raise OutputError(
                f"cannot write {printable(output)}: the layout of a safetensors checkpoint has one activation for all "
                "blocks, and another changes the graph: name an .onnx file"
            )
        check_output(output, sources=[model])
    before = replayed(model, data, **options)
    surgery = Surgery(
        construction=Construction.in_options(options),
        limits=Limits(options.get("memory_limit"), options.get("time_limit")),
        in_process=options.get("in_process", False),
        progress=options.get("progress"),
    )
    after: dict[str, Inspection] = {}
    declined: dict[tuple[str, str], Declined] = {}
    for name in names:
        manifest = planned(before, "swap", Selection(tuple(site)), Options(to=name))
        declined.update({(entry.site, entry.reason): entry for entry in manifest.declined})
        with _folder(output) as folder:
            place = Path(folder) / "swapped.onnx"
            report = surgery.run(manifest, None, model, place)
            after[name] = replayed(place, data, **for_edit(place, model, options))
        for action in report.actions:
            for entry in action.refused:
                declined[action.site, entry.reason] = Declined("swap", action.site, entry.units, entry.reason)
    if output is not None and kept is not None:
        manifest = planned(before, "swap", Selection(tuple(site)), Options(to=kept))
        with staged(output, [model]):
            surgery.run(manifest, None, model, output)
    return Swapped(before, after, tuple(declined.values()), None if output is None else Path(output))


def _folder(output: StrPath | None) -> tempfile.TemporaryDirectory[str]:
    """For a candidate, which is read once: beside the output, where there is one. Raises OutputError."""
    try:
        return tempfile.TemporaryDirectory(
            prefix=".nla-", dir=None if output is None else Path(output).parent
        )
    except OSError as error:
        why = error.strerror or one_line(error)
        raise OutputError(
            f"no folder for the candidates, which are measured as files: {why.lower()}; name one with room in TMPDIR"
        ) from None
