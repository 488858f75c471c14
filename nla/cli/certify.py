"""`nla certify`: proofs that neurons are silent for every input of a domain, or inputs that wake them."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, parameters, progress
from nla.cli.command import command
from nla.cli.options import calibration, certifying, checkpoint, measuring, writing

_IMAGE = ("resize", "resample", "scale", "mean", "std", "layout", "channels")
_FILES = ("model", "data", "run", "ranges", "tokenizer", "graph", "processor")


@command(
    "certify",
    (
        checkpoint.model,
        certifying.domain,
        certifying.box,
        certifying.ranges,
        certifying.margin,
        certifying.recorded,
        certifying.site,
        certifying.neuron,
        certifying.method,
        certifying.time_budget,
        certifying.seed,
        certifying.output,
        certifying.row_format,
        certifying.all_neurons,
        certifying.witnesses,
        writing.quiet,
        writing.verbose,
        calibration.data,
        calibration.inputs,
        calibration.limit,
        calibration.processor,
        checkpoint.constants,
        certifying.size,
        *checkpoint.CONSTRUCTION,
        *(each for each in calibration.PREPARATION if each is not calibration.exclude_bos),
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla certify model.onnx --box 0:1",
        "nla certify model.onnx --data calibration.npz --run run.h5 -o certificates.json",
        "nla certify checkpoint/ --size input_ids=1x16",
        "nla certify model.onnx --box 0:1 --site /fc2/Relu --method interval,linear,slopes,lp,milp",
    ),
)
def certify(output: str | None, row_format: str, all_neurons: bool, quiet: bool, **given: Any) -> None:
    """Prove that neurons of MODEL are silent for every input of a domain.

    Each neuron is certified, with an upper bound of its pre-activation z over the whole domain; refuted, by an input
    of the domain that wakes it when onnxruntime runs the model on it; or undecided. Bounds leave room for the
    rounding of the model's arithmetic, in any order of summation.
    """
    outputs.check([output, given["witnesses"]], [given[name] for name in _FILES])
    if given["witnesses"] == outputs.STANDARD_OUTPUT:
        raise click.UsageError("--witnesses writes arrays: name a file, such as witnesses.npz")
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)
    given["inputs"] = parameters.table(given["inputs"], "--input")
    given["size"] = _sizes(given["size"])
    given["image"] = {name: value for name in _IMAGE if (value := given.pop(name)) is not None}

    from nla import api
    from nla.rendering import certificates
    from nla.rendering.strict_json import json_text

    with progress.shown(quiet) as report:
        found = api.certify(**given, progress=report)
    if given["witnesses"]:
        outputs.wrote(given["witnesses"])
    if output:
        outputs.put(output, json_text(found.to_dict()))
    if quiet or output == outputs.STANDARD_OUTPUT:
        return
    if row_format == "json":
        outputs.put(outputs.STANDARD_OUTPUT, json_text(found.to_dict()))
    elif row_format == "csv":
        from nla.rendering.rows import print_rows

        print_rows(found.rows())
    else:
        certificates.print_certificates(found, every=all_neurons)


def _sizes(given: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, tuple[int, ...]]:
    """By input. Raises click.UsageError where one is given twice."""
    found: dict[str, tuple[int, ...]] = {}
    for name, sizes in given:
        if name in found:
            raise click.UsageError(f"--size {name} is given twice")
        found[name] = sizes
    return found
