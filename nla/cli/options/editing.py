"""Manifests carried out on a checkpoint, and the result verified."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import COUNT, OUTPUT, SURGERY, VERIFY, option
from nla.cli.parameters import Parsed

manifest = click.argument("manifest", type=click.Path())
undo_file = click.argument("undo", type=click.Path())
model_output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="OUT",
    help="Write the resulting model: an ONNX file or, for a safetensors checkpoint, a new folder in its layout, unless "
    "the name ends with .onnx; the one that was read is never written over.",
)
copy_weights = option(
    "--copy/--reference",
    "copy",
    section=OUTPUT,
    default=True,
    show_default=True,
    help="Copy the weights (into the file; beside it where they are over 100 MB), or refer to the safetensors files, "
    "in whose folder the result then lies.",
)
masks_output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    required=True,
    metavar="MASKS.safetensors",
    help="Write the masks.",
)
record_undo = option(
    "--record-undo",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="Keep what the edit overwrites, from which `nla undo` brings the original back.",
)
manifest_file = option(
    "--manifest",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="The manifest: where it is written as it was carried out; for `nla verify`, the one that was applied, "
    "whose promises are judged.",
)
force = option(
    "--force", section=SURGERY, is_flag=True, help="Edit a checkpoint of another digest than the manifest's."
)
dry_run = option(
    "--dry-run", section=SURGERY, is_flag=True, help="Print what would change, and write nothing."
)
round_to = option(
    "--round-to",
    section=SURGERY,
    metavar="N",
    type=COUNT,
    default=1,
    help="Keep units so that every width that changes is a multiple of this, such as 8, which hardware likes.",
)
tolerance = option(
    "--tolerance",
    section=VERIFY,
    metavar="X",
    type=Parsed("number", parameters.tolerance),
    help="How far an output may move, times max(1, its largest value), and count as unchanged: 1e-5, or more for "
    "models in float16.",
)
