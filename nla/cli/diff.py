"""`nla diff`: what became of each neuron between two runs of one network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nla.cli import outputs, progress, reading_runs, replaying
from nla.cli.command import command
from nla.cli.options import comparing, judging, writing

if TYPE_CHECKING:
    pass


@command(
    "diff",
    (
        comparing.before,
        comparing.after,
        comparing.common_only,
        comparing.different_data,
        comparing.quantised,
        judging.site,
        judging.state,
        comparing.change_format,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.DATA,
        *replaying.REST,
    ),
    examples=(
        "nla diff epoch01.h5 epoch12.h5",
        "nla diff float.h5 int8.h5 --format csv > changes.csv",
        "nla diff model.onnx model_int8.onnx --data calibration.npz",
    ),
)
def diff(change_format: str, json_file: str | None, quiet: bool, **given: Any) -> None:
    """Say what became of each neuron between two runs.

    A and B are recordings (nla inspect -o) or inspection documents with rows of one network, or, with --data,
    checkpoints. Neurons are matched by site and index; of each that changed state it is said whether chance
    explains it. Where B is the fp16 or int8 twin of A: which neurons quantisation killed, clipped or made constant.
    """
    outputs.check([json_file], [given[name] for name in ("before", "after", *replaying.FILES)])
    reading_runs.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        seen = api.diff(**given, progress=report)
    if json_file:
        outputs.put_document(json_file, seen)
    if quiet or json_file == outputs.STANDARD_OUTPUT:
        return
    if change_format == "json":
        outputs.put_document(outputs.STANDARD_OUTPUT, seen)
        return
    from nla.rendering import difference

    show = difference.print_difference_csv if change_format == "csv" else difference.print_difference
    show(seen)
