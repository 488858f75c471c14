"""`nla theory gradient`: gradients at every layer, measured without a framework, beside the bound of eq. 4."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, parameters, progress, replaying, theory_outputs
from nla.cli.command import command
from nla.cli.options import calibration, checkpoint, drawing, measuring, writing
from nla.cli.options import gradient as options
from nla.cli.options import theory as shared

_IMAGE = ("resize", "resample", "scale", "mean", "std", "layout", "channels")
_FILES = ("model", "data", "labels", "tokenizer", "graph", "processor")


@command(
    "gradient",
    (
        checkpoint.model,
        calibration.data,
        calibration.labels,
        options.loss,
        options.loss_of,
        calibration.inputs,
        calibration.limit,
        calibration.synthetic,
        calibration.seed,
        calibration.processor,
        writing.json_file,
        shared.row_format,
        shared.plot,
        drawing.theme,
        writing.quiet,
        writing.verbose,
        checkpoint.constants,
        checkpoint.include,
        *checkpoint.CONSTRUCTION,
        *(each for each in calibration.PREPARATION if each is not calibration.exclude_bos),
        measuring.providers,
        measuring.threads,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla theory gradient model.onnx --data test.npz --labels y",
        "nla theory gradient model.onnx --data photos/ --loss mean-square --plot flow.svg",
        "nla theory gradient model.onnx --data test.npz --format csv > neurons.csv",
    ),
)
def gradient(
    json_file: str | None, row_format: str, plot: str | None, theme: str, quiet: bool, **given: Any
) -> None:
    """Measure the gradient at every layer of MODEL.

    The backward pass is an ONNX graph that onnxruntime runs. For each layer: the norm of δ, the gradient of a sample's
    loss at its pre-activations; the bound of eq. 4 from the norms of the layers, and how far that is from what was
    measured; and the neurons that no sample gives any gradient.
    """
    replaying.check_data(given)
    theory_outputs.check(json_file, plot)
    outputs.check([json_file, plot], [given[name] for name in _FILES])
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)
    given["inputs"] = parameters.table(given["inputs"], "--input")
    given["image"] = {name: value for name in _IMAGE if (value := given.pop(name)) is not None}

    from nla import api

    with progress.shown(quiet) as report:
        found = api.gradient(**given, progress=report)
    if plot is not None:
        theory_outputs.draw(found, plot, theme)

    from nla.rendering.gradient import print_gradient

    theory_outputs.show(found, json_file, row_format, print_gradient, lambda flow: flow.rows(), quiet)
