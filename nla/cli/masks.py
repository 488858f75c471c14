"""`nla masks`: a manifest as boolean masks, for pipelines and pruners of others."""

from __future__ import annotations

from nla.cli import outputs
from nla.cli.command import command
from nla.cli.options import editing, writing


@command(
    "masks",
    (editing.manifest, editing.masks_output, writing.quiet),
    examples=("nla masks manifest.json -o masks.safetensors",),
)
def masks(manifest: str, output: str, quiet: bool) -> None:
    """Write a manifest as boolean masks, one for each weight tensor.

    MANIFEST is what `nla plan` wrote. The masks bear the names and shapes of the checkpoint's weights; True is kept.
    """
    outputs.check_model([output])
    outputs.check([output], [manifest])

    from nla import api

    made = api.masks(manifest, output)
    outputs.wrote(output)
    if not quiet:
        from nla.rendering.surgery import print_masks

        print_masks(made, output)
